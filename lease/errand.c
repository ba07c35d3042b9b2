/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Work beside the engine's thread: errand.h.
 *
 * One lock, of the crew: the queue, the list of workers, how many are idle. It
 * is held across nothing that waits, not even for memory.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "errand.h"
#include "heap.h"
#include "lease_talk.h"
#include "own_thread.h"
#include "reason.h"

#define READY 2
#define STACK (256UL << 10)
/* When no thread was to be had, another is tried. */
#define AGAIN_NS 100000000LL

struct errand {
	struct errand *next;
	errand_fn *fn;
	void *arg;
};

struct worker {
	struct worker *next;
	struct crew *crew;
	pthread_t thread;
	pid_t tid; /* 0: not at work yet */
};

struct crew {
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t need;	/* the maker's */
	pthread_cond_t at_work; /* a tid is there */
	struct errand *queue;
	struct errand **queue_end;
	unsigned int queued;
	unsigned int idle; /* workers */
	bool is_over;
	struct worker *workers;
	struct worker maker;
};

static struct errand *take_locked(struct crew *crew)
{
	struct errand *errand = crew->queue;

	if (!errand)
		return NULL;
	crew->queue = errand->next;
	if (!crew->queue)
		crew->queue_end = &crew->queue;
	crew->queued--;
	return errand;
}

static void appear_locked(struct worker *worker)
{
	worker->tid = gettid();
	pthread_cond_broadcast(&worker->crew->at_work);
}

/* What is queued when it is over is done. */
static void *work(void *arg)
{
	struct worker *worker = arg;
	struct crew *crew = worker->crew;
	struct errand *errand;

	own_thread_keep_small();
	pthread_mutex_lock(&crew->lock);
	appear_locked(worker);
	for (;;) {
		struct errand todo;

		crew->idle++;
		while (!crew->queue && !crew->is_over)
			pthread_cond_wait(&crew->work, &crew->lock);
		crew->idle--;
		errand = take_locked(crew);
		if (!errand)
			break;
		pthread_mutex_unlock(&crew->lock);
		todo = *errand;
		heap_put(errand);
		todo.fn(todo.arg);
		pthread_mutex_lock(&crew->lock);
	}
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

static bool begin(struct worker *worker, void *(*fn)(void *arg))
{
	struct crew *crew = worker->crew;
	int r = own_thread_start(&worker->thread, STACK, false, fn, worker);

	pthread_mutex_lock(&crew->lock);
	while (!r && !worker->tid)
		pthread_cond_wait(&crew->at_work, &crew->lock);
	pthread_mutex_unlock(&crew->lock);
	return !r;
}

static bool add_worker(struct crew *crew)
{
	struct worker *worker = heap_get(1, sizeof(*worker));

	if (worker)
		worker->crew = crew;
	if (!worker || !begin(worker, work)) {
		heap_put(worker);
		return false;
	}
	pthread_mutex_lock(&crew->lock);
	worker->next = crew->workers;
	crew->workers = worker;
	pthread_mutex_unlock(&crew->lock);
	return true;
}

static void rest_locked(struct crew *crew)
{
	int64_t until_ns = clock_now_ns() + AGAIN_NS;
	const struct timespec until = {until_ns / 1000000000LL,
				       until_ns % 1000000000LL};

	pthread_cond_timedwait(&crew->need, &crew->lock, &until);
}

static void *make_more(void *arg)
{
	struct crew *crew = ((struct worker *)arg)->crew;

	own_thread_keep_small();
	pthread_mutex_lock(&crew->lock);
	appear_locked(arg);
	while (!crew->is_over) {
		bool was_made;

		if (crew->queued <= crew->idle) {
			pthread_cond_wait(&crew->need, &crew->lock);
			continue;
		}
		pthread_mutex_unlock(&crew->lock);
		was_made = add_worker(crew);
		pthread_mutex_lock(&crew->lock);
		if (!was_made && !crew->is_over)
			rest_locked(crew);
	}
	pthread_mutex_unlock(&crew->lock);
	return NULL;
}

static void call_off(struct crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->is_over = true;
	pthread_cond_broadcast(&crew->work);
	pthread_cond_broadcast(&crew->need);
	pthread_mutex_unlock(&crew->lock);
	if (crew->maker.tid)
		pthread_join(crew->maker.thread, NULL);
	while (crew->workers) {
		struct worker *worker = crew->workers;

		pthread_join(worker->thread, NULL);
		crew->workers = worker->next;
		heap_put(worker);
	}
	pthread_cond_destroy(&crew->at_work);
	pthread_cond_destroy(&crew->need);
	pthread_cond_destroy(&crew->work);
	pthread_mutex_destroy(&crew->lock);
	heap_put(crew);
}

static struct crew *new_crew(void)
{
	struct crew *crew = heap_get(1, sizeof(*crew));
	pthread_condattr_t monotonic;

	if (!crew)
		return NULL;
	crew->queue_end = &crew->queue;
	crew->maker.crew = crew;
	pthread_mutex_init(&crew->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&crew->work, NULL);
	pthread_cond_init(&crew->need, &monotonic);
	pthread_cond_init(&crew->at_work, NULL);
	pthread_condattr_destroy(&monotonic);
	return crew;
}

void errand_start(struct lease_table *table)
{
	struct crew *crew = new_crew();
	unsigned int workers = 0;

	if (!crew)
		return;
	while (workers < READY && add_worker(crew))
		workers++;
	if (workers < READY || !begin(&crew->maker, make_more))
		call_off(crew);
	else
		table->crew = crew;
}

void errand_send(struct lease_table *table, errand_fn *fn, void *arg)
{
	struct crew *crew = table->crew;
	struct errand *errand = crew ? heap_get(1, sizeof(*errand)) : NULL;

	if (!errand) {
		fn(arg);
		return;
	}
	errand->fn = fn;
	errand->arg = arg;
	pthread_mutex_lock(&crew->lock);
	*crew->queue_end = errand;
	crew->queue_end = &errand->next;
	crew->queued++;
	pthread_cond_signal(crew->queued > crew->idle ? &crew->need
						      : &crew->work);
	pthread_mutex_unlock(&crew->lock);
}

/* On the stack of the engine, which waits for it. */
struct awaited {
	struct lease_engine *engine;
	errand_fn *fn;
	void *arg;
	int result;
	char reason[REASON_MAX];
	unsigned int kind;
	atomic_bool is_done;
};

static int run_awaited(void *arg)
{
	struct awaited *awaited = arg;
	struct lease_engine *engine = awaited->engine;

	awaited->result = awaited->fn(awaited->arg);
	snprintf(awaited->reason, sizeof(awaited->reason), "%s", reason_text());
	awaited->kind = reason_kind();
	/* It may be gone the next moment. */
	atomic_store(&awaited->is_done, true);
	lease_engine_wake(engine);
	return 0;
}

int errand_run(struct lease_table *table, struct lease_engine *engine,
	       errand_fn *fn, void *arg)
{
	struct awaited awaited = {.engine = engine, .fn = fn, .arg = arg};

	errand_send(table, run_awaited, &awaited);
	while (!atomic_load(&awaited.is_done))
		talk_step(table);
	if (awaited.result)
		reason_set_kind(awaited.kind, awaited.result, "%s",
				awaited.reason);
	return awaited.result;
}

bool errand_is_worker(const struct lease_table *table, pid_t tid)
{
	struct crew *crew = table->crew;
	const struct worker *worker;
	bool is_maker;

	if (!crew)
		return false;
	is_maker = crew->maker.tid == tid;
	pthread_mutex_lock(&crew->lock);
	worker = crew->workers;
	while (worker && worker->tid != tid)
		worker = worker->next;
	pthread_mutex_unlock(&crew->lock);
	return is_maker || worker;
}

void errand_end(struct lease_table *table)
{
	if (table->crew)
		call_off(table->crew);
	table->crew = NULL;
}
