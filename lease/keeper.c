/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program's side of its keeper: keeper.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper.h"
#include "keeper_connect.h"
#include "raw.h"
#include "reason.h"
#include "spawn.h"

#define READY_MS 10000
#define ROOM_MS	 5000

int keeper_init(struct keeper *keeper)
{
	int fd = memfd_create("daxmr-board", MFD_CLOEXEC);
	void *board;
	int error;

	if (fd < 0 || ftruncate(fd, BOARD_SIZE))
		goto failed;
	board = raw_map(fd, BOARD_SIZE, PROT_READ, 0);
	if (board == MAP_FAILED)
		goto failed;
	/* A forked child has no keeper whose board it could be. */
	raw_keep_to_us(board, BOARD_SIZE);
	*keeper = (struct keeper){
		.socket = -1,
		.received_fd = -1,
		.board_fd = fd,
		.board = board,
	};
	return 0;

failed:
	error = -errno;
	if (fd >= 0)
		raw_close(fd);
	return reason_set(error, "no memory to share with daxmr-keeper: %s%s",
			  strerrordesc_np(-error), reason_memory(error));
}

static void close_received(struct keeper *keeper)
{
	if (keeper->received_fd >= 0)
		raw_close(keeper->received_fd);
	keeper->received_fd = -1;
}

static void forget(struct keeper *keeper)
{
	close_received(keeper);
	unsent_drop(&keeper->unsent);
	if (keeper->socket >= 0)
		raw_close(keeper->socket);
	keeper->socket = -1;
	keeper->pid = 0;
}

static int spawn(struct keeper *keeper, const char *path, int pidfd)
{
	struct keeper_message ready = {0};
	int pair[2], r;

	if (raw_socketpair(SOCK_SEQPACKET, pair)) {
		r = -errno;
	} else {
		int fds[KEEPER_FDS_END - KEEPER_SOCKET_FD] = {
			pair[1],
			pidfd,
			keeper->board_fd,
		};

		r = spawn_detached(path, KEEPER_NAME, fds,
				   KEEPER_FDS_END - KEEPER_SOCKET_FD);
		raw_close(pair[1]);
		keeper->socket = pair[0];
	}
	if (!r)
		r = keeper_receive(keeper, READY_MS, &ready);
	if (!r && ready.kind != KEEPER_READY)
		r = -EPROTO;
	keeper->pid = ready.pid;
	if (r == -EPIPE)
		reason_set_kind(
			REASON_KEEPER, r,
			"%s ended before it was ready: a limit or a system "
			"call filter of the program may have ended it (one "
			"that is started outside has neither: "
			"DAXMR_KEEPER)",
			path);
	else if (r)
		reason_set_kind(REASON_KEEPER, r, "%s cannot be started: %s",
				path, strerrordesc_np(-r));
	return r;
}

int keeper_start(struct keeper *keeper, const char *path)
{
	int saved_errno = errno, pidfd, r;

	forget(keeper);
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pidfd < 0) {
		r = reason_set(-errno, "no pidfd for daxmr-keeper: %s",
			       strerrordesc_np(errno));
	} else if (keeper->listener) {
		r = keeper_connect(keeper->listener, pidfd, keeper->board_fd,
				   READY_MS, &keeper->pid);
		if (r >= 0) {
			keeper->socket = r;
			r = 0;
		}
	} else {
		r = spawn(keeper, path, pidfd);
	}
	if (pidfd >= 0)
		raw_close(pidfd);
	if (r)
		forget(keeper);
	errno = saved_errno;
	return r;
}

void keeper_done(struct keeper *keeper)
{
	forget(keeper);
	raw_unmap(keeper->board, BOARD_SIZE);
	raw_close(keeper->board_fd);
}

/*
 * As many descriptors of an unprivileged user can be on their way as one of his
 * processes may have open (unix(7), ETOOMANYREFS); each that the keeper takes
 * makes room.
 */
static bool has_room_soon(unsigned int *pauses)
{
	raw_poll(NULL, 0, 1);
	return ++*pauses <= ROOM_MS;
}

static int send_now(const struct keeper *keeper,
		    const struct keeper_message *message, const int *fds,
		    unsigned int count)
{
	unsigned int pauses = 0;
	int r;

	do {
		r = unsent_try(keeper->socket, message, fds, count);
	} while (r == -ETOOMANYREFS && has_room_soon(&pauses));
	return r;
}

/* In their order. Only where there is no memory either it waits for room. */
static int send_message(struct keeper *keeper, struct keeper_message *message,
			const int *fds, unsigned int count)
{
	int saved_errno = errno, r;
	unsigned int pauses = 0;

	message->version = KEEPER_VERSION;
	do {
		r = unsent_send(&keeper->unsent, keeper->socket);
		if (!r)
			r = send_now(keeper, message, fds, count);
		if (r == -EAGAIN || r == -ETOOMANYREFS)
			r = unsent_keep(&keeper->unsent, message, fds, count);
	} while (r == -ENOMEM && has_room_soon(&pauses));
	errno = saved_errno;
	return r;
}

short keeper_events(const struct keeper *keeper)
{
	return keeper->unsent.first ? POLLIN | POLLOUT : POLLIN;
}

static int send_request(struct keeper *keeper, enum keeper_kind kind,
			const struct keeper_request *request)
{
	struct keeper_message message = {
		.kind = kind,
		.ticket = request->ticket,
		.id = request->id,
		.acquire =
			{
				.type = request->type,
				.shadows = request->shadows,
				.flush_ms = request->flush_ms,
				.flush_cpu =
					(uint8_t)(request->flush_cpu
							  ? request->flush_cpu
							  : FLUSH_CPU),
				.on_conflict = (uint8_t)request->on_conflict,
				.on_shrink = (uint8_t)request->on_shrink,
				.consent_ns = request->consent_ns,
				.pause_min_ns = request->pause_min_ns
							? request->pause_min_ns
							: RECALL_PAUSE_MIN,
				.pause_max_ns = request->pause_max_ns
							? request->pause_max_ns
							: RECALL_PAUSE_MAX,
			},
	};

	return send_message(keeper, &message, &request->fd, 1);
}

int keeper_acquire(struct keeper *keeper, const struct keeper_request *request)
{
	return send_request(keeper, KEEPER_ACQUIRE, request);
}

int keeper_adopt(struct keeper *keeper, const struct keeper_request *request)
{
	return send_request(keeper, KEEPER_ADOPT, request);
}

/* What is said with nothing but a time, which has one place for all. */
static int send_time(struct keeper *keeper, enum keeper_kind kind, uint32_t id,
		     int64_t ns, uint32_t ticket)
{
	struct keeper_message message = {
		.kind = kind,
		.ticket = ticket,
		.id = id,
		.deadline_ns = ns,
	};

	return send_message(keeper, &message, NULL, 0);
}

int keeper_release(struct keeper *keeper, uint32_t id, int64_t deadline_ns)
{
	return send_time(keeper, KEEPER_RELEASE, id, deadline_ns, 0);
}

int keeper_consent(struct keeper *keeper, uint32_t id, int64_t asked_ns)
{
	return send_time(keeper, KEEPER_CONSENT, id, asked_ns, 0);
}

int keeper_ask(struct keeper *keeper, uint32_t id, int64_t consent_ns,
	       uint32_t ticket)
{
	return send_time(keeper, KEEPER_CONSENT_NS, id, consent_ns, ticket);
}

static int send_own(struct keeper *keeper, enum keeper_kind step, uint32_t id,
		    enum keeper_own kind, uint32_t ticket)
{
	struct keeper_message message = {
		.kind = step,
		.ticket = ticket,
		.id = id,
		.own = kind,
	};

	return send_message(keeper, &message, NULL, 0);
}

int keeper_own_begin(struct keeper *keeper, uint32_t id, enum keeper_own kind,
		     uint32_t ticket)
{
	return send_own(keeper, KEEPER_OWN_BEGIN, id, kind, ticket);
}

int keeper_own_end(struct keeper *keeper, uint32_t id, enum keeper_own kind)
{
	return send_own(keeper, KEEPER_OWN_END, id, kind, 0);
}

/* What is said with nothing but a name. */
static int send_word(struct keeper *keeper, enum keeper_kind kind, uint32_t id,
		     uint32_t ticket)
{
	struct keeper_message message = {
		.kind = kind,
		.ticket = ticket,
		.id = id,
	};

	return send_message(keeper, &message, NULL, 0);
}

int keeper_unlock(struct keeper *keeper, uint32_t id)
{
	return send_word(keeper, KEEPER_UNLOCK, id, 0);
}

int keeper_flush(struct keeper *keeper, uint32_t id, uint32_t ticket)
{
	return send_word(keeper, KEEPER_FLUSH, id, ticket);
}

int keeper_fetch(struct keeper *keeper, uint32_t id, uint32_t ticket)
{
	return send_word(keeper, KEEPER_FETCH, id, ticket);
}

int keeper_attach(struct keeper *keeper, const struct keeper_extent *extent)
{
	const int fds[KEEPER_MESSAGE_FDS] = {extent->shadow_fd,
					     extent->page.fd};
	struct keeper_message message = {
		.kind = KEEPER_ATTACH,
		.ticket = extent->ticket,
		.id = extent->id,
		.extent =
			{
				.offset = extent->offset,
				.length = extent->length,
				.page_at = extent->page.at,
				.id = extent->extent,
			},
	};

	return send_message(keeper, &message, fds,
			    extent->shadow_fd < 0 ? 0 : KEEPER_MESSAGE_FDS);
}

int keeper_persist(struct keeper *keeper, uint32_t id, uint64_t offset,
		   uint64_t end, uint32_t ticket)
{
	struct keeper_message message = {
		.kind = KEEPER_PERSIST,
		.ticket = ticket,
		.id = id,
		.persist = {offset, end},
	};

	return send_message(keeper, &message, NULL, 0);
}

int keeper_detach(struct keeper *keeper, uint32_t id, uint32_t extent,
		  uint32_t ticket)
{
	struct keeper_message message = {
		.kind = KEEPER_DETACH,
		.ticket = ticket,
		.id = id,
		.extent = {.id = extent},
	};

	return send_message(keeper, &message, NULL, 0);
}

int keeper_received_fd(struct keeper *keeper)
{
	int fd = keeper->received_fd;

	keeper->received_fd = -1;
	return fd;
}

/* As recv(), and a descriptor that comes along. */
static ssize_t receive(struct keeper *keeper, struct keeper_message *message)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {message, sizeof(*message)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	const struct cmsghdr *header;
	ssize_t n;

	close_received(keeper);
	n = raw_recvmsg(keeper->socket, &msg);
	header = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&keeper->received_fd, CMSG_DATA(header), sizeof(int));
	return n;
}

int keeper_receive(struct keeper *keeper, int timeout_ms,
		   struct keeper_message *ret)
{
	struct pollfd source = {.fd = keeper->socket, .events = POLLIN};
	int saved_errno = errno, r = 0;
	struct keeper_message message;
	ssize_t n;

	if (keeper->socket < 0)
		return -EPIPE;
	/* Of its death the next message tells. */
	unsent_send(&keeper->unsent, keeper->socket);
	if (raw_poll(&source, 1, timeout_ms) == 0) {
		errno = saved_errno;
		return -ETIMEDOUT;
	}
	n = receive(keeper, &message);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		r = -EPIPE;
	else if (n < 0)
		r = errno == EAGAIN || errno == EINTR ? -ETIMEDOUT : -errno;
	else if (n != sizeof(message) || message.version != KEEPER_VERSION)
		r = -EPROTO;
	else
		*ret = message;
	errno = saved_errno;
	return r;
}

enum recall_state keeper_state(const struct keeper *keeper, uint32_t id)
{
	return atomic_load(&keeper->board[id].state);
}

uint64_t keeper_reports(const struct keeper *keeper, uint32_t id)
{
	return atomic_load(&keeper->board[id].generation);
}
