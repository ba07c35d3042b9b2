/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr-keeper: holds the leases of one program, whatever becomes of it.
 *
 * Started by keeper.c, or by the one that listens (keeper_listen.h), with the
 * descriptors of keeper_proto.h, every signal blocked. One thread, one loop,
 * that waits for
 *   the socket    what the program wants; its end
 *   the pidfd     the program's death, though a child may keep the socket
 *   the signalfd  breaks; SIGTERM: everything is flushed, and that is all
 *   inotify       openers that went, changes that nobody announced
 *   the time      that the first of all files has something due
 * No file is looked at that nothing has happened to: a break costs the same
 * among ten files and ten thousand.
 *
 * When the program is gone, or has closed the socket, everything is given back
 * and the keeper ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "board.h"
#include "clock.h"
#include "keeper_command.h"
#include "keeper_proto.h"
#include "keeper_settle.h"
#include "leased.h"

/* How long the program's end may wait for what cannot be written. */
#define ORPHAN_NS (600 * 1000000000LL)

enum source {
	SOCKET,
	PIDFD,
	SIGNALS,
	INOTIFY,
	SOURCES
};

static struct leased_shared shared = {
	.outbox = {.socket = KEEPER_SOCKET_FD},
	.info = SETLEASE_INFO_NONE,
	.break_time = -1,
};
static struct leased *by_id[BOARD_SLOTS];
static struct by_fd {
	struct leased *leased;
} * by_fd;
static int fds_end;
static uint32_t ids_end; /* one past the highest id ever used */
static unsigned int files;
static bool is_orphan;

static bool set_by_fd(int fd, struct leased *leased)
{
	if (fd >= fds_end) {
		int end = 2 * fd + 64;
		struct by_fd *bigger =
			reallocarray(by_fd, (size_t)end, sizeof(*by_fd));

		if (!bigger)
			return false;
		memset(bigger + fds_end, 0,
		       (size_t)(end - fds_end) * sizeof(*by_fd));
		by_fd = bigger;
		fds_end = end;
	}
	by_fd[fd].leased = leased;
	return true;
}

static struct leased *find(uint32_t id)
{
	return id < BOARD_SLOTS ? by_id[id] : NULL;
}

/* Whatever was done to it: it may be gone by now. */
static void run(struct leased *leased)
{
	leased_run(leased);
	if (leased->recall.state != RECALL_FREE)
		return;
	/* Its last report has to get through while there is somebody. */
	if (leased->slot.is_waiting && !is_orphan)
		return;
	by_id[leased->id] = NULL;
	by_fd[leased->fd].leased = NULL;
	leased_free(leased);
	files--;
}

static void each(void (*fn)(struct leased *leased))
{
	for (uint32_t id = 0; id < ids_end; id++)
		if (by_id[id])
			fn(by_id[id]);
}

static void look_and_run(struct leased *leased)
{
	leased_look(leased);
	run(leased);
}

static void flush_and_run(struct leased *leased)
{
	leased_flush_now(leased, leased->flush_ticket);
	run(leased);
}

static void orphan_and_run(struct leased *leased)
{
	leased_owner_gone(leased);
	leased_release(leased, clock_now_ns() + ORPHAN_NS);
	run(leased);
}

static void orphaned(void)
{
	if (is_orphan)
		return;
	is_orphan = true;
	each(orphan_and_run);
}

static void report_sent(struct outbox_slot *slot)
{
	run(leased_of_slot(slot));
}

/* A new file: by_fd first, so that a break that comes at once is found. */
static void acquire(const struct keeper_message *message, int fd)
{
	struct leased *leased;

	if (message->id >= BOARD_SLOTS || by_id[message->id] ||
	    !set_by_fd(fd, NULL) || due_reserve(&shared.due, files + 1)) {
		close(fd);
		orphaned(); /* it does not speak as agreed */
		return;
	}
	leased = leased_new(&shared, message, fd);
	if (!leased)
		return;
	by_id[message->id] = leased;
	by_fd[fd].leased = leased;
	if (message->id >= ids_end)
		ids_end = message->id + 1;
	files++;
	run(leased);
}

static void no_such(const struct keeper_message *message, enum keeper_kind kind)
{
	struct keeper_message reply = *message;

	reply.kind = kind;
	reply.error = -ESRCH;
	outbox_answer(&shared.outbox, &reply);
}

/* inotify's news is there when the call returns: it is read before its end. */
static void own(const struct keeper_message *message, struct leased *leased)
{
	bool is_begin = message->kind == KEEPER_OWN_BEGIN;

	if (message->own >= KEEPER_OWNS) {
		orphaned();
		return;
	}
	if (leased) {
		/* before an end: what the call did is known by then */
		if (message->own >= KEEPER_OWN_WRITE || !is_begin)
			watches_read(&shared.watches, leased_watch_told);
		if (is_begin)
			leased_own_begin(leased, message->own, message->ticket);
		else
			leased_own_end(leased, message->own);
		run(leased);
	} else if (is_begin) {
		outbox_refuse(&shared.outbox, message, KEEPER_OWN_READY,
			      -ESRCH);
	}
}

static void set_consent(struct leased *leased,
			const struct keeper_message *message)
{
	struct keeper_message reply = *message;

	if (leased)
		leased->recall.policy.consent_ns = message->consent_ns;
	reply.error = leased ? 0 : -ESRCH;
	outbox_answer(&shared.outbox, &reply);
}

static void detach(struct leased *leased, const struct keeper_message *message)
{
	struct keeper_message reply = *message;

	reply.kind = KEEPER_DETACHED;
	reply.error = leased ? leased_detach(leased, message->extent.id,
					     message->ticket)
			     : -ESRCH;
	if (!message->ticket)
		return;
	outbox_answer(&shared.outbox, &reply);
}

/* Descriptors that nobody has taken (they are -1 then) are closed. */
static void handle(const struct keeper_message *message, int *fds)
{
	struct leased *leased = find(message->id);

	switch (message->kind) {
	case KEEPER_ACQUIRE:
	case KEEPER_ADOPT:
		/* None is left for what was sent along. */
		if (fds[0] < 0)
			outbox_refuse(&shared.outbox, message, KEEPER_ACQUIRED,
				      -EMFILE);
		else
			acquire(message, fds[0]);
		fds[0] = -1;
		break;
	case KEEPER_RELEASE:
		if (leased) {
			leased_release(leased, message->deadline_ns);
			run(leased);
		}
		break;
	case KEEPER_FLUSH:
		if (leased) {
			leased_flush_now(leased, message->ticket);
			run(leased);
		}
		break;
	case KEEPER_PERSIST:
		if (leased) {
			leased_persist(leased, message);
			run(leased);
		} else {
			no_such(message, KEEPER_PERSISTED);
		}
		break;
	case KEEPER_FETCH:
		if (leased)
			leased_fetch(leased, message->ticket);
		else
			no_such(message, KEEPER_FETCHED);
		break;
	case KEEPER_CONSENT:
		if (leased) {
			leased_consent(leased, message->deadline_ns);
			run(leased);
		}
		break;
	case KEEPER_CONSENT_NS:
		set_consent(leased, message);
		break;
	case KEEPER_OWN_BEGIN:
	case KEEPER_OWN_END:
		own(message, leased);
		break;
	case KEEPER_ATTACH:
		if (leased) {
			leased_attach(leased, message, fds);
			run(leased);
		} else {
			no_such(message, KEEPER_ATTACHED);
		}
		break;
	case KEEPER_DETACH:
		detach(leased, message);
		break;
	case KEEPER_UNLOCK:
		if (leased)
			leased_unlock(leased);
		break;
	default:
		orphaned();
	}
}

/* One message. False: there is none now. */
static bool receive(void)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(KEEPER_MESSAGE_FDS * sizeof(int))];
	} control;
	struct keeper_message message;
	struct iovec iov = {&message, sizeof(message)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fds[KEEPER_MESSAGE_FDS] = {-1, -1};
	struct cmsghdr *header;
	bool is_good;
	ssize_t n;

	n = recvmsg(shared.outbox.socket, &msg,
		    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	header = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	is_good = n == sizeof(message) && message.version == KEEPER_VERSION;
	if (is_good)
		handle(&message, fds);
	else
		orphaned();
	for (int i = 0; i < KEEPER_MESSAGE_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return is_good;
}

/*
 * Some of them; the loop comes back for the rest. A full queue sends SIGIO,
 * which names no file: all are looked at.
 */
static void read_signals(int signals)
{
	struct signalfd_siginfo info[16];
	bool look_at_all = false, flush_all = false;
	ssize_t n = read(signals, info, sizeof(info));

	for (ssize_t i = 0; i < n / (ssize_t)sizeof(info[0]); i++) {
		int fd = info[i].ssi_fd;

		if (info[i].ssi_signo == SIGTERM) {
			flush_all = true;
		} else if ((int)info[i].ssi_signo == LEASED_SIGNAL && fd >= 0 &&
			   fd < fds_end && by_fd[fd].leased) {
			leased_break_heard(by_fd[fd].leased);
			run(by_fd[fd].leased);
		} else {
			look_at_all = true;
		}
	}
	if (look_at_all)
		each(look_and_run);
	if (flush_all)
		each(flush_and_run);
}

static void read_news(void)
{
	watches_heard(&shared.watches, clock_now_ns());
	watches_read(&shared.watches, leased_watch_told);
}

/* Whoever read the queue may have found that it had run over. */
static void make_good_lost_news(void)
{
	if (!shared.watches.is_news_lost)
		return;
	shared.watches.is_news_lost = false;
	each(leased_news_lost);
}

/* Each file once, so that a long flush of one holds up no other. */
static int run_due(void)
{
	int64_t now_ns = clock_now_ns(), ns;
	struct due_entry *first;

	while ((first = due_first(&shared.due)) && first->at_ns < now_ns)
		run(leased_of_due(first));
	if (!first)
		return -1;
	ns = (first->at_ns - clock_now_ns() + 999999) / 1000000;
	return ns < 0 ? 0 : ns > 60000 ? 60000 : (int)ns;
}

static int loop(int signals)
{
	struct pollfd sources[SOURCES] = {
		[SOCKET] = {.fd = shared.outbox.socket},
		[PIDFD] = {.fd = KEEPER_PIDFD_FD, .events = POLLIN},
		[SIGNALS] = {.fd = signals, .events = POLLIN},
		[INOTIFY] = {.events = POLLIN},
	};

	while (!is_orphan || files) {
		int timeout_ms;

		make_good_lost_news();
		timeout_ms = run_due();
		if (is_orphan && !files)
			break;
		sources[INOTIFY].fd = watches_wait(&shared.watches,
						   clock_now_ns(), &timeout_ms);
		sources[SOCKET].events =
			POLLIN |
			(outbox_is_waiting(&shared.outbox) ? POLLOUT : 0);
		if (is_orphan)
			sources[SOCKET].fd = sources[PIDFD].fd = -1;
		if (poll(sources, SOURCES, timeout_ms) < 0)
			continue;
		/* Breaks first: somebody waits. */
		if (sources[SIGNALS].revents)
			read_signals(signals);
		if (sources[INOTIFY].revents)
			read_news();
		if (sources[SOCKET].revents & POLLOUT)
			outbox_send(&shared.outbox, report_sent);
		if (sources[SOCKET].revents & (POLLIN | POLLHUP | POLLERR))
			while (receive())
				;
		if (sources[PIDFD].revents || shared.is_broken)
			orphaned();
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct keeper_message ready = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_READY,
		.pid = getpid(),
	};
	sigset_t set;
	int signals;

	if (argc > 1 || !keeper_command_is_kept())
		return keeper_command(argc, argv);
	keeper_settle();
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, LEASED_SIGNAL);
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	shared.board = mmap(NULL, BOARD_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, KEEPER_BOARD_FD, 0);
	/* No file system stays mounted for our sake. */
	if (signals < 0 || shared.board == MAP_FAILED || chdir("/"))
		return 1;
	watches_init(&shared.watches);
	shared.break_time =
		open("/proc/sys/fs/lease-break-time", O_RDONLY | O_CLOEXEC);
	if (send(shared.outbox.socket, &ready, sizeof(ready), MSG_NOSIGNAL) < 0)
		return 1;
	return loop(signals);
}
