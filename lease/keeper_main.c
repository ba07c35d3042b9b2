/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr-keeper: holds the leases of one program, whatever becomes of it.
 *
 * Started by keeper.c, or by the one that listens (keeper_listen.h), with the
 * descriptors of keeper_proto.h, every signal blocked. One thread, one loop,
 * that waits for
 *   the socket    what the program wants; its end
 *   the pidfd     the program's death, though a child may keep the socket
 *   the signalfd  breaks
 *   inotify       openers that went
 *   the time      that the first of the active files has something due
 * Files that are HELD are not looked at in the loop: a break costs the same
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
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "board.h"
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
	.socket = KEEPER_SOCKET_FD,
	.inotify = -1,
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
	if (leased->unsent && !is_orphan)
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

static void release_and_run(struct leased *leased)
{
	leased_release(leased, leased_now() + ORPHAN_NS);
	run(leased);
}

static void orphaned(void)
{
	if (is_orphan)
		return;
	is_orphan = true;
	each(release_and_run);
}

static void send_waiting_and_run(struct leased *leased)
{
	if (leased->unsent && leased_send_waiting(leased))
		run(leased);
}

/* A new file: by_fd first, so that a break that comes at once is found. */
static void acquire(const struct keeper_message *message, int fd)
{
	struct leased *leased;

	if (message->id >= BOARD_SLOTS || by_id[message->id] ||
	    !set_by_fd(fd, NULL)) {
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

static void answer(const struct keeper_message *message, enum keeper_kind kind)
{
	struct keeper_message reply = *message;

	reply.kind = kind;
	reply.error = find(message->id) ? 0 : -ESRCH;
	send(shared.socket, &reply, sizeof(reply), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Descriptors that nobody has taken (they are -1 then) are closed. */
static void handle(const struct keeper_message *message, int *fds)
{
	struct leased *leased = find(message->id);

	switch (message->kind) {
	case KEEPER_ACQUIRE:
	case KEEPER_ADOPT:
		if (fds[0] >= 0)
			acquire(message, fds[0]);
		fds[0] = -1;
		break;
	case KEEPER_RELEASE:
		if (leased) {
			leased_release(leased, message->deadline_ns);
			run(leased);
		}
		break;
	case KEEPER_CONSENT:
		if (leased) {
			leased_consent(leased);
			run(leased);
		}
		break;
	case KEEPER_OWN_BEGIN:
		answer(message, KEEPER_OWN_READY);
		break;
	case KEEPER_ATTACH:
		answer(message, KEEPER_ATTACHED);
		break;
	case KEEPER_OWN_END:
	case KEEPER_DETACH:
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

	n = recvmsg(shared.socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
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
 * A signal's descriptor number may be one of the keeper before this, and a full
 * queue sends SIGIO without one: where the file it names is not being broken
 * all are looked at.
 */
static void read_signals(int signals)
{
	struct signalfd_siginfo info[16];
	bool look_at_all = false;
	ssize_t n;

	while ((n = read(signals, info, sizeof(info))) > 0) {
		for (size_t i = 0; i < (size_t)n / sizeof(info[0]); i++) {
			int fd = info[i].ssi_fd;
			struct leased *leased = NULL;

			if ((int)info[i].ssi_signo == LEASED_SIGNAL &&
			    fd >= 0 && fd < fds_end)
				leased = by_fd[fd].leased;
			if (leased && leased_break_heard(leased))
				run(leased);
			else
				look_at_all = true;
		}
	}
	if (look_at_all)
		each(look_and_run);
}

static void read_inotify(void)
{
	char room[4096]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(shared.inotify, room, sizeof(room));

	for (char *at = room; n > 0 && at < room + n;) {
		const struct inotify_event *event = (const void *)at;

		for (struct leased *leased = shared.active; leased;
		     leased = leased->next)
			if (leased->watch == event->wd ||
			    event->mask & IN_Q_OVERFLOW)
				leased_opener_gone(leased);
		at += sizeof(*event) + event->len;
	}
}

/* Each active file once, so that a long flush of one holds up no other. */
static int run_active(void)
{
	int64_t now_ns = leased_now(), first_ns = RECALL_NEVER;
	struct leased *leased = shared.active, *next;

	for (; leased; leased = next) {
		next = leased->next;
		if (leased->due_ns <= now_ns)
			run(leased);
	}
	for (leased = shared.active; leased; leased = leased->next)
		if (leased->due_ns < first_ns)
			first_ns = leased->due_ns;
	if (first_ns == RECALL_NEVER)
		return -1;
	first_ns = (first_ns - leased_now() + 999999) / 1000000;
	return first_ns < 0 ? 0 : first_ns > 60000 ? 60000 : (int)first_ns;
}

static int loop(int signals)
{
	struct pollfd sources[SOURCES] = {
		[SOCKET] = {.fd = shared.socket},
		[PIDFD] = {.fd = KEEPER_PIDFD_FD, .events = POLLIN},
		[SIGNALS] = {.fd = signals, .events = POLLIN},
		[INOTIFY] = {.fd = shared.inotify, .events = POLLIN},
	};

	while (!is_orphan || files) {
		int timeout_ms = run_active();

		if (is_orphan && !files)
			break;
		sources[SOCKET].events = POLLIN | (shared.unsent ? POLLOUT : 0);
		if (is_orphan)
			sources[SOCKET].fd = sources[PIDFD].fd = -1;
		if (poll(sources, SOURCES, timeout_ms) < 0)
			continue;
		/* Breaks first: somebody waits. */
		if (sources[SIGNALS].revents)
			read_signals(signals);
		if (sources[INOTIFY].revents)
			read_inotify();
		if (sources[SOCKET].revents & POLLOUT)
			each(send_waiting_and_run);
		if (sources[SOCKET].revents & (POLLIN | POLLHUP | POLLERR))
			while (receive())
				;
		if (sources[PIDFD].revents)
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
	sigaddset(&set, LEASED_SIGNAL);
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	shared.board = mmap(NULL, BOARD_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, KEEPER_BOARD_FD, 0);
	/* No file system stays mounted for our sake. */
	if (signals < 0 || shared.board == MAP_FAILED || chdir("/"))
		return 1;
	shared.inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	shared.break_time =
		open("/proc/sys/fs/lease-break-time", O_RDONLY | O_CLOEXEC);
	if (send(shared.socket, &ready, sizeof(ready), MSG_NOSIGNAL) < 0)
		return 1;
	return loop(signals);
}
