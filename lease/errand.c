/* SPDX-License-Identifier: BSD-2-Clause */
/* Work beside the engine's thread: errand.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "errand.h"
#include "lease_talk.h"
#include "reason.h"

/* On the stack of the engine, which joins the thread. */
struct errand {
	struct lease_engine *engine;
	errand_fn *fn;
	void *arg;
	int result;
	char reason[REASON_MAX];
	atomic_bool is_done;
};

static void *run(void *arg)
{
	struct errand *errand = arg;

	errand->result = errand->fn(errand->arg);
	snprintf(errand->reason, sizeof(errand->reason), "%s", reason_text());
	atomic_store(&errand->is_done, true);
	lease_engine_wake(errand->engine);
	return NULL;
}

int errand_run(struct lease_table *table, struct lease_engine *engine,
	       errand_fn *fn, void *arg)
{
	struct errand errand = {.engine = engine, .fn = fn, .arg = arg};
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, &errand))
		return fn(arg);
	while (!atomic_load(&errand.is_done))
		talk_step(table);
	pthread_join(thread, NULL);
	if (errand.result)
		reason_set(errand.result, "%s", errand.reason);
	return errand.result;
}

struct sent {
	errand_fn *fn;
	void *arg;
};

static void *run_sent(void *arg)
{
	struct sent sent = *(struct sent *)arg;

	free(arg);
	sent.fn(sent.arg);
	return NULL;
}

void errand_send(errand_fn *fn, void *arg)
{
	struct sent *sent = malloc(sizeof(*sent));
	pthread_attr_t detached;
	pthread_t thread;
	int r = -1;

	if (sent) {
		*sent = (struct sent){fn, arg};
		pthread_attr_init(&detached);
		pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &detached, run_sent, sent);
		pthread_attr_destroy(&detached);
	}
	if (r) {
		free(sent);
		fn(arg);
	}
}
