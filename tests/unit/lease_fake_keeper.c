/* SPDX-License-Identifier: BSD-2-Clause */
/* A keeper that is a thread of the test: lease_fake_keeper.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "board.h"
#include "extent_book.h"
#include "extent_page.h"
#include "lease_fake_keeper.h"
#include "recall.h"
#include "unit.h"

#define KINDS	    (KEEPER_DETACHED + 1)
#define EXTENTS_MAX 64U

static struct {
	pthread_t thread;
	char path[64];
	int listener;

	pthread_mutex_t lock;
	int socket; /* -1: nobody talks to it */
	struct board_slot *board;
	unsigned int keepers;
	enum keeper_kind dies_at; /* 0: nowhere */
	enum keeper_kind stops_at;
	bool is_stopped;
	pthread_cond_t goes_on;
	int new_error, old_error, range_error;
	bool is_flush_answered;
	bool has_had[EXTENTS_MAX]; /* by number */
	struct extent extents[EXTENTS_MAX];
	unsigned int canceled;
	unsigned int heard[KINDS];
	uint32_t last_ticket[KINDS];
	int64_t deadline_ns; /* of the last RELEASE */
} fake = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.goes_on = PTHREAD_COND_INITIALIZER,
};

const char *fake_path(void)
{
	return fake.path;
}

static void send_locked(const struct keeper_message *message)
{
	if (fake.socket >= 0)
		send(fake.socket, message, sizeof(*message), MSG_NOSIGNAL);
}

static void report_locked(uint32_t id, enum recall_state to,
			  enum recall_cause cause, uint32_t ticket)
{
	struct board_slot *slot = &fake.board[id];
	struct keeper_message message = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_REPORT,
		.ticket = ticket,
		.id = id,
		.report = {.from = atomic_load(&slot->state),
			   .to = to,
			   .cause = cause},
	};

	message.report.generation = atomic_fetch_add(&slot->generation, 1) + 1;
	atomic_store(&slot->state, to);
	send_locked(&message);
}

static void answer_locked(const struct keeper_message *to,
			  enum keeper_kind kind, int error)
{
	struct keeper_message message = *to;

	message.kind = kind;
	message.error = error;
	send_locked(&message);
}

static struct extent *extent_of(const struct keeper_message *message)
{
	return &fake.extents[message->extent.id % EXTENTS_MAX];
}

static void forget_extent(struct extent *extent)
{
	if (extent->page)
		extent_unmap(extent);
	extent->page = NULL;
}

static int attach_error_locked(const struct keeper_message *message,
			       const int fds[2])
{
	const struct extent_place page = {fds[1], message->extent.page_at};
	bool *has_had = &fake.has_had[message->extent.id % EXTENTS_MAX];
	int error = *has_had ? fake.old_error : fake.new_error;

	if (!message->extent.page_at)
		return fake.range_error;
	forget_extent(extent_of(message));
	if (!error)
		error = extent_map(&page, extent_of(message));
	*has_had |= !error;
	return error;
}

/* As extents_let_go(). */
static int detach_error_locked(const struct keeper_message *message)
{
	struct extent *extent = extent_of(message);

	if (extent->page && message->ticket &&
	    !extent_end_leave(extent, message->ticket)) {
		fake.canceled++;
		return -ECANCELED;
	}
	forget_extent(extent);
	return 0;
}

static void handle_locked(const struct keeper_message *message,
			  const int fds[2])
{
	int error;

	switch (message->kind) {
	case KEEPER_ACQUIRE:
		report_locked(message->id, RECALL_HELD, RECALL_GRANTED, 0);
		answer_locked(message, KEEPER_ACQUIRED, 0);
		break;
	case KEEPER_ADOPT:
		answer_locked(message, KEEPER_ACQUIRED, 0);
		break;
	case KEEPER_ATTACH:
		answer_locked(message, KEEPER_ATTACHED,
			      attach_error_locked(message, fds));
		break;
	case KEEPER_DETACH:
		error = detach_error_locked(message);
		if (message->ticket)
			answer_locked(message, KEEPER_DETACHED, error);
		break;
	case KEEPER_OWN_BEGIN:
		answer_locked(message, KEEPER_OWN_READY, 0);
		break;
	case KEEPER_CONSENT_NS:
		answer_locked(message, KEEPER_CONSENT_NS, 0);
		break;
	case KEEPER_PERSIST:
		answer_locked(message, KEEPER_PERSISTED, 0);
		break;
	case KEEPER_FLUSH:
		if (fake.is_flush_answered)
			report_locked(message->id, RECALL_HELD, RECALL_WRITTEN,
				      message->ticket);
		break;
	case KEEPER_RELEASE:
		fake.deadline_ns = message->deadline_ns;
		report_locked(message->id, RECALL_FREE, RECALL_RELEASED, 0);
		break;
	default:
		break;
	}
}

/* Descriptors that come along are closed. False: the other end is gone. */
static bool receive(int socket, struct keeper_message *ret, int fds[2])
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec iov = {ret, sizeof(*ret)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;

	fds[0] = fds[1] = -1;
	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != sizeof(*ret))
		return false;
	header = CMSG_FIRSTHDR(&msg);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	return true;
}

static void close_all(const int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Its board comes with the first message. */
static void begin(int socket)
{
	struct keeper_message hello, ready = {
					     .version = KEEPER_VERSION,
					     .kind = KEEPER_READY,
				     };
	int fds[2];

	if (!receive(socket, &hello, fds))
		return;
	pthread_mutex_lock(&fake.lock);
	fake.board = mmap(NULL, BOARD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  fds[1], 0);
	fake.socket = socket;
	fake.keepers++;
	send_locked(&ready);
	pthread_mutex_unlock(&fake.lock);
	close_all(fds);
}

static void end(int socket)
{
	pthread_mutex_lock(&fake.lock);
	fake.socket = -1;
	if (fake.board)
		munmap(fake.board, BOARD_SIZE);
	fake.board = NULL;
	pthread_mutex_unlock(&fake.lock);
	for (unsigned int i = 0; i < EXTENTS_MAX; i++)
		forget_extent(&fake.extents[i]);
	close(socket);
}

static void converse(int socket)
{
	struct keeper_message message;
	bool lives = true;
	int fds[2];

	begin(socket);
	while (lives && receive(socket, &message, fds)) {
		pthread_mutex_lock(&fake.lock);
		fake.heard[message.kind]++;
		fake.last_ticket[message.kind] = message.ticket;
		fake.is_stopped = fake.stops_at == message.kind;
		while (fake.is_stopped)
			pthread_cond_wait(&fake.goes_on, &fake.lock);
		lives = fake.dies_at != message.kind;
		if (lives)
			handle_locked(&message, fds);
		else
			fake.dies_at = 0;
		pthread_mutex_unlock(&fake.lock);
		close_all(fds);
	}
	end(socket);
}

static void *run(void *arg)
{
	int socket;

	(void)arg;
	while ((socket = accept4(fake.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		converse(socket);
	return NULL;
}

void fake_start(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	fake.socket = -1;
	fake.board = NULL;
	fake.keepers = 0;
	fake.dies_at = fake.stops_at = 0;
	fake.is_stopped = false;
	fake.new_error = fake.old_error = fake.range_error = 0;
	fake.is_flush_answered = true;
	fake.canceled = 0;
	memset(fake.has_had, 0, sizeof(fake.has_had));
	memset(fake.heard, 0, sizeof(fake.heard));
	snprintf(fake.path, sizeof(fake.path), "/tmp/daxmr-fake-%d", getpid());
	strcpy(address.sun_path, fake.path);
	unlink(fake.path);
	fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(fake.listener >= 0);
	assert_int_equal(bind(fake.listener, (struct sockaddr *)&address,
			      sizeof(address)),
			 0);
	assert_int_equal(listen(fake.listener, 8), 0);
	assert_int_equal(pthread_create(&fake.thread, NULL, run, NULL), 0);
}

void fake_stop(void)
{
	fake_go_on();
	shutdown(fake.listener, SHUT_RDWR);
	fake_die();
	pthread_join(fake.thread, NULL);
	close(fake.listener);
	unlink(fake.path);
}

void fake_die(void)
{
	pthread_mutex_lock(&fake.lock);
	if (fake.socket >= 0)
		shutdown(fake.socket, SHUT_RDWR);
	pthread_mutex_unlock(&fake.lock);
}

void fake_die_at(enum keeper_kind kind)
{
	pthread_mutex_lock(&fake.lock);
	fake.dies_at = kind;
	pthread_mutex_unlock(&fake.lock);
}

void fake_stop_at(enum keeper_kind kind)
{
	pthread_mutex_lock(&fake.lock);
	fake.stops_at = kind;
	pthread_mutex_unlock(&fake.lock);
}

void fake_go_on(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.stops_at = 0;
	fake.is_stopped = false;
	pthread_cond_signal(&fake.goes_on);
	pthread_mutex_unlock(&fake.lock);
}

void fake_refuse_new(int error)
{
	pthread_mutex_lock(&fake.lock);
	fake.new_error = error;
	pthread_mutex_unlock(&fake.lock);
}

void fake_refuse_old(int error)
{
	pthread_mutex_lock(&fake.lock);
	fake.old_error = error;
	pthread_mutex_unlock(&fake.lock);
}

void fake_refuse_range(int error)
{
	pthread_mutex_lock(&fake.lock);
	fake.range_error = error;
	pthread_mutex_unlock(&fake.lock);
}

void fake_answer_flush(bool is_answered)
{
	pthread_mutex_lock(&fake.lock);
	fake.is_flush_answered = is_answered;
	pthread_mutex_unlock(&fake.lock);
}

void fake_tell_written(uint32_t id, uint32_t ticket)
{
	pthread_mutex_lock(&fake.lock);
	report_locked(id, RECALL_HELD, RECALL_WRITTEN, ticket);
	pthread_mutex_unlock(&fake.lock);
}

unsigned int fake_heard(enum keeper_kind kind)
{
	unsigned int heard;

	pthread_mutex_lock(&fake.lock);
	heard = fake.heard[kind];
	pthread_mutex_unlock(&fake.lock);
	return heard;
}

unsigned int fake_canceled(void)
{
	unsigned int canceled;

	pthread_mutex_lock(&fake.lock);
	canceled = fake.canceled;
	pthread_mutex_unlock(&fake.lock);
	return canceled;
}

uint32_t fake_last_ticket(enum keeper_kind kind)
{
	uint32_t ticket;

	pthread_mutex_lock(&fake.lock);
	ticket = fake.last_ticket[kind];
	pthread_mutex_unlock(&fake.lock);
	return ticket;
}

int64_t fake_deadline_ns(void)
{
	int64_t deadline_ns;

	pthread_mutex_lock(&fake.lock);
	deadline_ns = fake.deadline_ns;
	pthread_mutex_unlock(&fake.lock);
	return deadline_ns;
}

unsigned int fake_keepers(void)
{
	unsigned int keepers;

	pthread_mutex_lock(&fake.lock);
	keepers = fake.keepers;
	pthread_mutex_unlock(&fake.lock);
	return keepers;
}
