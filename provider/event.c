/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <unistd.h>

#include "clock.h"
#include "event.h"
#include "lease.h"
#include "log.h"
#include "quiet.h"
#include "raw.h"
#include "reason.h"

#define EXPORT __attribute__((visibility("default")))
#define MS     1000000LL

struct daxmr_channel {
	pid_t pid;
	int fd;	     /* the program's */
	int lent_fd; /* the same in the engine's table, or -1 */
	pid_t lent_tid;
	struct lease_engine *engine;
	unsigned int sources;
	struct event_node *first;
	struct event_node *last;
};

/*
 * Protects every channel and its sources. The engine's thread takes it: nobody
 * waits, or is interrupted, while he holds it, and no other lock is taken under
 * it. No child uses what there was before it.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* A source's agreeing has become 0. */
static pthread_cond_t agreed = PTHREAD_COND_INITIALIZER;

static void child_has_none(void)
{
	pthread_mutex_init(&lock, NULL);
	pthread_cond_init(&agreed, NULL);
}

static void follow_forks(void)
{
	pthread_atfork(NULL, NULL, child_has_none);
}

int event_check_pid(int pid, const char *what)
{
	if (getpid() == pid)
		return 0;
	log_sentence(LOG_INFO,
		     "the %s is the parent process's: a forked child has to "
		     "make its own",
		     what);
	return -ESTALE;
}

EXPORT int daxmr_channel_open(struct daxmr_channel **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct daxmr_channel *channel = calloc(1, sizeof(*channel));
	int saved_errno = errno, r;

	pthread_once(&once, follow_forks);
	if (!channel) {
		log_sentence(LOG_WARN, "no memory for an event channel");
		errno = saved_errno;
		return -ENOMEM;
	}
	channel->pid = getpid();
	channel->lent_fd = -1;
	channel->fd = (int)syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (channel->fd < 0) {
		r = -errno;
		log_sentence(LOG_WARN,
			     "no descriptor for an event channel: %s; raise "
			     "RLIMIT_NOFILE",
			     strerrordesc_np(-r));
		free(channel);
		errno = saved_errno;
		return r;
	}
	*ret = channel;
	errno = saved_errno;
	return 0;
}

EXPORT int daxmr_channel_close(struct daxmr_channel *channel)
{
	int saved_errno = errno, r = event_check_pid(channel->pid, "channel");
	unsigned int sources;
	sigset_t signals;

	if (r)
		return r;
	quiet_lock(&lock, &signals);
	sources = channel->sources;
	quiet_unlock(&lock, &signals);
	if (sources) {
		log_sentence(LOG_WARN,
			     "the channel has events of %u regions: give those "
			     "up first (daxmr_dereg_mr)",
			     sources);
		return -EBUSY;
	}
	if (channel->lent_fd >= 0)
		lease_take_back(channel->engine, channel->lent_fd);
	raw_close(channel->fd);
	free(channel);
	errno = saved_errno;
	return 0;
}

int event_check_channel(const struct daxmr_channel *channel)
{
	return event_check_pid(channel->pid, "channel");
}

EXPORT int daxmr_channel_fd(const struct daxmr_channel *channel)
{
	int r = event_check_pid(channel->pid, "channel");

	return r ? r : channel->fd;
}

static void queue_locked(struct event_node *node)
{
	struct daxmr_channel *channel = node->source->channel;

	node->is_queued = true;
	node->previous = channel->last;
	node->next = NULL;
	if (channel->last)
		channel->last->next = node;
	else
		channel->first = node;
	channel->last = node;
}

static void unqueue_locked(struct event_node *node)
{
	struct daxmr_channel *channel = node->source->channel;

	node->is_queued = false;
	if (node->previous)
		node->previous->next = node->next;
	else
		channel->first = node->next;
	if (node->next)
		node->next->previous = node->previous;
	else
		channel->last = node->previous;
}

/* Neither does ever wait: at its limit it is readable already. */
static void signal_locked(const struct daxmr_channel *channel)
{
	bool is_lent = channel->lent_fd >= 0 && gettid() == channel->lent_tid;
	static const uint64_t one = 1;
	int saved_errno = errno;

	syscall(SYS_write, is_lent ? channel->lent_fd : channel->fd, &one,
		sizeof(one));
	errno = saved_errno;
}

/* Only a program's thread reads. */
static void settle_locked(const struct daxmr_channel *channel)
{
	int saved_errno = errno;
	uint64_t count;

	if (!channel->first)
		raw_read(channel->fd, &count, sizeof(count));
	errno = saved_errno;
}

void event_source_init(struct event_source *source,
		       struct daxmr_channel *channel,
		       struct daxmr_region *region, void *data)
{
	sigset_t signals;

	memset(source->nodes, 0, sizeof(source->nodes));
	source->pid = getpid();
	source->channel = channel;
	source->out = 0;
	source->is_done = false;
	source->asked = source->acked = 0;
	source->agreeing = 0;
	source->is_paused = false;
	for (int i = 0; i < DAXMR_EVENT_KINDS; i++) {
		source->nodes[i].source = source;
		source->nodes[i].event = (struct daxmr_event){
			.kind = (enum daxmr_event_kind)i,
			.region = region,
			.data = data,
		};
	}
	if (!channel)
		return;
	quiet_lock(&lock, &signals);
	channel->sources++;
	quiet_unlock(&lock, &signals);
}

int event_source_lend(struct event_source *source, struct lease_engine *engine)
{
	struct daxmr_channel *channel = source->channel;
	pid_t tid;
	sigset_t signals;
	int fd, r;

	if (!channel)
		return 0;
	r = lease_lend(engine, channel->fd, &fd, &tid);
	if (r)
		return r;
	quiet_lock(&lock, &signals);
	if (channel->lent_fd < 0) {
		channel->lent_fd = fd;
		channel->lent_tid = tid;
		channel->engine = engine;
		fd = -1;
	}
	quiet_unlock(&lock, &signals);
	if (fd >= 0) /* there was one */
		lease_take_back(engine, fd);
	return 0;
}

void event_source_done(struct event_source *source)
{
	struct daxmr_channel *channel = source->channel;
	sigset_t signals;
	bool is_free;

	quiet_lock(&lock, &signals);
	for (int i = 0; channel && i < DAXMR_EVENT_KINDS; i++)
		if (source->nodes[i].is_queued)
			unqueue_locked(&source->nodes[i]);
	if (channel) {
		settle_locked(channel);
		channel->sources--;
	}
	source->channel = NULL;
	source->is_done = true;
	is_free = !source->out;
	quiet_unlock(&lock, &signals);
	if (is_free)
		source->free(source);
}

static void post_locked(struct event_source *source, enum daxmr_event_kind kind,
			const struct event_fact *fact)
{
	struct event_node *node = &source->nodes[kind];
	uint64_t blocks = node->fact.blocks + fact->blocks;

	node->count += 1 + fact->more;
	node->fact = *fact;
	node->fact.blocks = blocks;
	if (node->is_out)
		return;
	if (node->is_queued)
		unqueue_locked(node);
	queue_locked(node);
	signal_locked(source->channel);
}

void event_post(struct event_source *source, enum daxmr_event_kind kind,
		const struct event_fact *fact)
{
	sigset_t signals;

	if (!source->channel)
		return;
	quiet_lock(&lock, &signals);
	post_locked(source, kind, fact);
	quiet_unlock(&lock, &signals);
}

void event_asked(struct event_source *source, const struct event_fact *fact,
		 _Atomic uint64_t *ret_asked)
{
	sigset_t signals;

	quiet_lock(&lock, &signals);
	/* before anybody can have read of it, and agree */
	atomic_store(ret_asked, ++source->asked);
	if (source->channel)
		post_locked(source, DAXMR_EVENT_RECALL, fact);
	quiet_unlock(&lock, &signals);
}

/* NULL: there is none. */
static struct daxmr_event *take_first(struct daxmr_channel *channel)
{
	struct daxmr_event *event = NULL;
	struct event_node *node;
	sigset_t signals;

	quiet_lock(&lock, &signals);
	node = channel->first;
	if (node) {
		unqueue_locked(node);
		event = &node->event;
		event->who = node->fact.who;
		event->count = node->count;
		event->blocks = node->fact.blocks;
		event->at_ns = node->fact.at_ns;
		event->deadline_ns = node->fact.deadline_ns;
		event->error = node->fact.error;
		memset(&node->fact, 0, sizeof(node->fact));
		node->count = 0;
		node->asked = node->source->asked;
		node->is_out = true;
		node->source->out++;
	}
	settle_locked(channel);
	quiet_unlock(&lock, &signals);
	return event;
}

/* 0 there may be one, or -errno. */
static int wait_until(const struct daxmr_channel *channel, int64_t until_ns)
{
	struct pollfd source = {.fd = channel->fd, .events = POLLIN};
	int64_t left_ns = until_ns - clock_now_ns();
	int ms = -1, r;

	if (until_ns != INT64_MAX) {
		if (left_ns <= 0)
			return -EAGAIN;
		ms = (int)((left_ns + MS - 1) / MS);
	}
	r = raw_poll(&source, 1, ms);
	if (r < 0)
		return -errno;
	if (source.revents & POLLNVAL)
		return -EBADF;
	return 0;
}

EXPORT int daxmr_event_get(struct daxmr_channel *channel, int timeout_ms,
			   struct daxmr_event **ret)
{
	int saved_errno = errno, r = event_check_pid(channel->pid, "channel");
	int64_t until_ns =
		timeout_ms < 0 ? INT64_MAX : clock_now_ns() + timeout_ms * MS;
	struct daxmr_event *event = NULL;

	while (!r && !(event = take_first(channel)))
		r = wait_until(channel, until_ns);
	if (!r)
		*ret = event;
	if (r == -EBADF)
		log_sentence(LOG_WARN, "somebody has closed the descriptor of "
				       "the event channel");
	errno = saved_errno;
	return r;
}

static bool begin_agree_locked(struct event_source *source)
{
	if (source->is_done || source->is_paused || !source->agreed)
		return false;
	source->agreeing++;
	return true;
}

static void end_agree_locked(struct event_source *source)
{
	if (!--source->agreeing)
		pthread_cond_broadcast(&agreed);
}

void event_source_pause(struct event_source *source)
{
	sigset_t signals;

	quiet_lock(&lock, &signals);
	source->is_paused = true;
	while (source->agreeing)
		pthread_cond_wait(&agreed, &lock);
	quiet_unlock(&lock, &signals);
}

void event_source_resume(struct event_source *source)
{
	uint64_t acked;
	sigset_t signals;

	quiet_lock(&lock, &signals);
	source->is_paused = false;
	acked = source->acked;
	if (begin_agree_locked(source)) {
		quiet_unlock(&lock, &signals);
		source->agreed(source, acked);
		quiet_lock(&lock, &signals);
		end_agree_locked(source);
	}
	quiet_unlock(&lock, &signals);
}

/* The source stays as long as this event counts as out. */
EXPORT int daxmr_event_ack(struct daxmr_event *event)
{
	struct event_node *node = (struct event_node *)event;
	struct event_source *source = node->source;
	int r = event_check_pid(source->pid, "event");
	int saved_errno = errno;
	sigset_t signals;
	bool is_free;

	if (r)
		return r;
	quiet_lock(&lock, &signals);
	node->is_out = false;
	if (node->count && !source->is_done) {
		queue_locked(node);
		signal_locked(source->channel);
	}
	if (event->kind == DAXMR_EVENT_RECALL) {
		if (source->acked < node->asked)
			source->acked = node->asked;
		if (begin_agree_locked(source)) {
			uint64_t acked = source->acked;

			quiet_unlock(&lock, &signals);
			source->agreed(source, acked);
			quiet_lock(&lock, &signals);
			end_agree_locked(source);
		}
	}
	is_free = !--source->out && source->is_done;
	quiet_unlock(&lock, &signals);
	if (is_free)
		source->free(source);
	errno = saved_errno;
	return 0;
}

EXPORT const char *daxmr_event_name(enum daxmr_event_kind kind)
{
	static const char *const names[DAXMR_EVENT_KINDS] = {
		[DAXMR_EVENT_RECALL] = "recall",
		[DAXMR_EVENT_YIELDED] = "yielded",
		[DAXMR_EVENT_RETAKEN] = "retaken",
		[DAXMR_EVENT_MERGED] = "merged",
		[DAXMR_EVENT_CONFLICT] = "conflict",
		[DAXMR_EVENT_CHANGED] = "changed",
		[DAXMR_EVENT_SHRUNK] = "shrunk",
		[DAXMR_EVENT_GROWN] = "grown",
		[DAXMR_EVENT_BEYOND_EOF] = "beyond-eof",
		[DAXMR_EVENT_FLUSHED] = "flushed",
		[DAXMR_EVENT_FLUSH_ERROR] = "flush-error",
		[DAXMR_EVENT_LOST] = "lost",
		[DAXMR_EVENT_SEVERED] = "severed",
	};

	return (unsigned int)kind < DAXMR_EVENT_KINDS && names[kind]
		       ? names[kind]
		       : "unknown";
}
