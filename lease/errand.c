/* SPDX-License-Identifier: BSD-2-Clause */
/* Work beside the engine's thread: errand.h. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "errand.h"
#include "heap.h"
#include "lease_talk.h"
#include "reason.h"

/* On the stack of the engine, which joins the thread. */
struct errand {
	struct lease_engine *engine;
	errand_fn *fn;
	void *arg;
	int result;
	char reason[REASON_MAX];
	unsigned int kind;
	atomic_bool is_done;
};

static void *run(void *arg)
{
	struct errand *errand = arg;

	errand->result = errand->fn(errand->arg);
	snprintf(errand->reason, sizeof(errand->reason), "%s", reason_text());
	errand->kind = reason_kind();
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
		reason_set_kind(errand.kind, errand.result, "%s",
				errand.reason);
	return errand.result;
}

struct sent {
	struct sent *next;
	pthread_t thread;
	_Atomic pid_t tid;
	errand_fn *fn;
	void *arg;
};

static void *run_sent(void *arg)
{
	struct sent *sent = arg;

	atomic_store(&sent->tid, gettid());
	sent->fn(sent->arg);
	return NULL;
}

void errand_send(struct lease_table *table, errand_fn *fn, void *arg)
{
	struct sent *sent = heap_get(1, sizeof(*sent));

	if (sent)
		*sent = (struct sent){
			.next = table->sent, .fn = fn, .arg = arg};
	if (!sent || pthread_create(&sent->thread, NULL, run_sent, sent)) {
		heap_put(sent);
		fn(arg);
		return;
	}
	table->sent = sent;
}

void errand_reap(struct lease_table *table)
{
	struct sent **at = &table->sent;

	while (*at) {
		struct sent *sent = *at;

		if (pthread_tryjoin_np(sent->thread, NULL)) {
			at = &sent->next;
			continue;
		}
		*at = sent->next;
		heap_put(sent);
	}
}

bool errand_is_sent(const struct lease_table *table, pid_t tid)
{
	const struct sent *sent = table->sent;

	while (sent && atomic_load(&sent->tid) != tid)
		sent = sent->next;
	return sent != NULL;
}

void errand_end(struct lease_table *table)
{
	while (table->sent) {
		struct sent *sent = table->sent;

		pthread_join(sent->thread, NULL);
		table->sent = sent->next;
		heap_put(sent);
	}
}
