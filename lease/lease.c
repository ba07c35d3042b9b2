/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine's thread, and how callers ask it: lease.h has the picture. What
 * they ask for is lease_calls.c's.
 *
 * One lock: `lock` protects the list of requests and each request in it. It is
 * held across nothing that waits, no observer and no system call but the
 * wake-up. The leases are the thread's alone (lease_table.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "errand.h"
#include "heap.h"
#include "lease_take.h"
#include "lease_talk.h"
#include "own_thread.h"
#include "raw.h"
#include "reason.h"
#include "staged.h"
#include "undumped.h"

/*
 * Blocked in our thread from the start, where it waits for the signalfd. One
 * that nobody sends to the process as a whole: a signalfd takes those, too, and
 * the program would not get its own. A program that sets SIG_IGN takes it away,
 * so who waits sends it again.
 */
#define WAKE_SIGNAL   SIGSTKFLT
#define WAKE_AGAIN_NS (50 * 1000000L)

/* How often a file is looked at that is to be given back when it is ours. */
#define TIDY_MS 100U

/* On its caller's stack, until it is done. */
struct request {
	struct request *next;
	lease_engine_fn *fn; /* NULL: the thread ends */
	void *arg;
	struct swap_view *view; /* to be moved by who asked; NULL: none */
	int moved;
	int result;
	char reason[REASON_MAX];
	unsigned int kind; /* of the reason */
	bool is_done;
};

struct lease_engine {
	struct lease_config config;
	char keeper_path[PATH_MAX];
	char keeper_socket[PATH_MAX];
	pid_t pid; /* a forked child is another */
	pthread_t thread;
	_Atomic pid_t tid; /* 0: it isn't ready yet */
	int start_error;

	pthread_mutex_t lock;
	pthread_cond_t done;
	struct request *requests;

	/* The thread's. */
	int signals;
	struct lease_table table;
};

struct own_desk *lease_engine_desk(struct lease_engine *engine)
{
	return &engine->table.own;
}

void lease_engine_wake(struct lease_engine *engine)
{
	syscall(SYS_tgkill, engine->pid, atomic_load(&engine->tid),
		WAKE_SIGNAL);
}

/* Waits in mremap() until the engine has read of it. */
static void move_now(struct lease_engine *engine, struct request *request)
{
	struct swap_view *view = request->view;
	int r;

	pthread_mutex_unlock(&engine->lock);
	r = swap_move(view);
	pthread_mutex_lock(&engine->lock);
	request->moved = r;
	request->view = NULL;
}

static void wait_for_answer(struct lease_engine *engine,
			    struct request *request)
{
	struct request **at;

	pthread_mutex_lock(&engine->lock);
	for (at = &engine->requests; *at; at = &(*at)->next)
		;
	*at = request;
	while (!request->is_done) {
		struct timespec until;

		if (request->view) {
			move_now(engine, request);
			continue;
		}
		lease_engine_wake(engine);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += WAKE_AGAIN_NS;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		pthread_cond_timedwait(&engine->done, &engine->lock, &until);
	}
	pthread_mutex_unlock(&engine->lock);
}

/*
 * The sentence comes over from the other thread. The request is on this one's
 * stack: neither a handler that leaves by siglongjmp() nor a cancellation may
 * take it away. (And a handler that touched what is being swapped would wait
 * for us.)
 */
static int ask(struct lease_engine *engine, struct request *request)
{
	int saved_errno = errno, cancel_state;
	sigset_t all, before;

	if (getpid() != engine->pid)
		return reason_set(-ESRCH, "a forked child has no leases");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	wait_for_answer(engine, request);
	pthread_setcancelstate(cancel_state, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (request->result)
		reason_set_kind(request->kind, request->result, "%s",
				request->reason);
	errno = saved_errno;
	return request->result;
}

static struct request *next_request(struct lease_engine *engine)
{
	struct request *request;

	pthread_mutex_lock(&engine->lock);
	request = engine->requests;
	if (request)
		engine->requests = request->next;
	pthread_mutex_unlock(&engine->lock);
	return request;
}

/* The thread that asked, for staged.h. */
struct mover {
	struct lease_engine *engine;
	struct request *request;
};

static void move(void *arg, struct swap_view *view)
{
	struct mover *mover = arg;

	pthread_mutex_lock(&mover->engine->lock);
	mover->request->view = view;
	pthread_cond_broadcast(&mover->engine->done);
	pthread_mutex_unlock(&mover->engine->lock);
}

static int moved(void *arg)
{
	struct mover *mover = arg;
	int r = -EINPROGRESS;

	pthread_mutex_lock(&mover->engine->lock);
	if (!mover->request->view)
		r = mover->request->moved;
	pthread_mutex_unlock(&mover->engine->lock);
	return r;
}

static void finish(struct lease_engine *engine, struct request *request,
		   int result)
{
	pthread_mutex_lock(&engine->lock);
	request->result = result;
	snprintf(request->reason, sizeof(request->reason), "%s", reason_text());
	request->kind = reason_kind();
	request->is_done = true;
	pthread_cond_broadcast(&engine->done);
	pthread_mutex_unlock(&engine->lock);
}

/* False: it was the last. */
static bool serve(struct lease_engine *engine)
{
	struct lease_table *table = &engine->table;
	struct request *request;
	bool goes_on = true;

	while (goes_on && (request = next_request(engine))) {
		struct mover mover = {engine, request};
		const struct staged_mover staged = {move, moved, &mover};
		int r = 0;

		goes_on = request->fn != NULL;
		table->is_asked = true;
		table->mover = &staged;
		if (request->fn) {
			/* What could not go before may while nobody stores. */
			lease_tidy(table);
			r = request->fn(table, request->arg);
		}
		table->mover = NULL;
		table->is_asked = false;
		finish(engine, request, r);
	}
	return goes_on;
}

/*
 * Nothing of the program's stays in this table: a copy of its pipe's end would
 * keep the other end waiting.
 */
static int own_descriptors(struct lease_engine *engine)
{
	sigset_t set;

	if (syscall(SYS_close_range, 0, UINT_MAX, CLOSE_RANGE_UNSHARE))
		return -errno;
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (raw_open(AT_FDCWD, "/dev/null", O_RDWR) != fd)
			return -errno;
	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	engine->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	engine->table.wake_fd = engine->signals;
	engine->table.pidfd = (int)syscall(SYS_pidfd_open, engine->pid, 0);
	return engine->signals < 0 || engine->table.pidfd < 0 ? -errno : 0;
}

/* -1 is for ever, the greatest of all when it is taken for unsigned. */
static int timeout_ms(struct lease_table *table)
{
	unsigned int look_ms = (unsigned int)staged_look(table);
	unsigned int sleepers_ms = (unsigned int)staged_wake_late(table);
	unsigned int keeper = (unsigned int)talk_timeout_ms(table);
	unsigned int own = (unsigned int)own_desk_timeout_ms(&table->own);
	unsigned int first = keeper < own ? keeper : own;

	if (first > look_ms)
		first = look_ms;
	if (first > sleepers_ms)
		first = sleepers_ms;
	return (int)(table->lingering && first > TIDY_MS ? TIDY_MS : first);
}

static void loop(struct lease_engine *engine)
{
	struct signalfd_siginfo info;
	bool goes_on = true;

	while (goes_on) {
		struct pollfd sources[2] = {
			{.fd = engine->signals, .events = POLLIN},
			{.fd = -1},
		};

		if (engine->table.count && !engine->table.is_keeper_dead) {
			sources[1].fd = engine->table.keeper.socket;
			sources[1].events =
				keeper_events(&engine->table.keeper);
		}
		raw_poll(sources, 2, timeout_ms(&engine->table));
		while (raw_read(engine->signals, &info, sizeof(info)) > 0)
			;
		talk_hear(&engine->table);
		talk_send_consents(&engine->table);
		own_desk_serve(&engine->table);
		lease_tidy(&engine->table);
		goes_on = serve(engine);
	}
}

static void *run(void *arg)
{
	struct lease_engine *engine = arg;
	int r = own_descriptors(engine);

	own_thread_keep_small();
	pthread_setname_np(pthread_self(), LEASE_THREAD_NAME);
	own_desk_init(&engine->table.own);
	if (!r)
		errand_start(&engine->table);
	pthread_mutex_lock(&engine->lock);
	engine->start_error = r;
	atomic_store(&engine->tid, gettid());
	pthread_cond_broadcast(&engine->done);
	pthread_mutex_unlock(&engine->lock);
	if (!r)
		loop(engine);
	/* The table of descriptors ends with the thread. */
	return NULL;
}

/* Every signal blocked from its first instruction on. */
static int start_thread(struct lease_engine *engine)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&engine->thread, NULL, run, engine);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	pthread_mutex_lock(&engine->lock);
	while (!atomic_load(&engine->tid))
		pthread_cond_wait(&engine->done, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
	if (engine->start_error)
		pthread_join(engine->thread, NULL);
	return engine->start_error;
}

static void free_engine(struct lease_engine *engine)
{
	errand_end(&engine->table);
	undumped_set(&engine->table.undumped, 0, UINTPTR_MAX, false);
	skipped_free(&engine->table.skipped);
	pthread_cond_destroy(&engine->done);
	pthread_mutex_destroy(&engine->lock);
	heap_put(engine);
}

int lease_engine_start(const struct lease_config *config,
		       struct lease_engine **ret)
{
	struct lease_engine *engine = heap_get(1, sizeof(*engine));
	pthread_condattr_t monotonic;
	int saved_errno = errno, r;

	if (!engine)
		return reason_set(-ENOMEM, "no memory for leases");
	engine->config = *config;
	snprintf(engine->keeper_path, sizeof(engine->keeper_path), "%s",
		 config->keeper_path);
	engine->config.keeper_path = engine->keeper_path;
	if (config->keeper_socket) {
		snprintf(engine->keeper_socket, sizeof(engine->keeper_socket),
			 "%s", config->keeper_socket);
		engine->config.keeper_socket = engine->keeper_socket;
	}
	engine->table.config = &engine->config;
	engine->pid = getpid();
	pthread_mutex_init(&engine->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r = start_thread(engine);
	errno = saved_errno;
	if (r) {
		free_engine(engine);
		return reason_set(r, "no thread for leases: %s",
				  strerrordesc_np(-r));
	}
	*ret = engine;
	return 0;
}

void lease_engine_stop(struct lease_engine *engine)
{
	struct request request = {.fn = NULL};

	if (ask(engine, &request))
		return; /* a forked child: the thread is its parent's */
	pthread_join(engine->thread, NULL);
	free_engine(engine);
}

int lease_engine_call(struct lease_engine *engine, lease_engine_fn *fn,
		      void *arg)
{
	struct request request = {.fn = fn, .arg = arg};

	return ask(engine, &request);
}
