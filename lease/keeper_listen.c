/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keeper that listens: keeper_listen.h.
 *
 * One loop that waits for nobody: a peer that has connected has HELLO_NS to say
 * what it wants, and the oldest goes when there are too many. Of one user only,
 * our own: a keeper takes leases with its own rights, and those of root, or of
 * who has CAP_LEASE, are not for everybody.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board.h"
#include "clock.h"
#include "keeper_listen.h"
#include "keeper_proto.h"
#include "keeper_socket.h"
#include "spawn.h"

#define HELLO_NS  (5 * 1000000000LL)
#define PAUSE_NS  (100 * 1000000LL) /* after an accept() that found no room */
#define PEERS_MAX 64
#define FDS_MAX	  8
#define HELLO_FDS 2

struct peer {
	int fd;
	pid_t pid;
	int64_t deadline_ns;
};

struct listener {
	int fd;
	int signals;
	int64_t accept_ns; /* not before */
	unsigned int peers;
	struct peer peer[PEERS_MAX]; /* the oldest first */
};

static void drop(struct listener *listener, unsigned int n)
{
	close(listener->peer[n].fd);
	listener->peers--;
	memmove(&listener->peer[n], &listener->peer[n + 1],
		(listener->peers - n) * sizeof(listener->peer[0]));
}

static void refuse(int fd, int error)
{
	struct keeper_message message = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_READY,
		.error = error,
	};

	send(fd, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void accept_peer(struct listener *listener)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			listener->accept_ns = clock_now_ns() + PAUSE_NS;
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) ||
	    credentials.uid != geteuid()) {
		fprintf(stderr,
			KEEPER_NAME ": process %d of user %u is refused: this "
				    "keeper is for programs of user %u\n",
			credentials.pid, credentials.uid, geteuid());
		refuse(fd, -EACCES);
		close(fd);
		return;
	}
	if (listener->peers == PEERS_MAX)
		drop(listener, 0);
	listener->peer[listener->peers++] = (struct peer){
		.fd = fd,
		.pid = credentials.pid,
		.deadline_ns = clock_now_ns() + HELLO_NS,
	};
}

/* The descriptors that came, as many as were said to: else -EPROTO. */
static int take_fds(struct msghdr *msg, int fds[FDS_MAX])
{
	struct cmsghdr *header = CMSG_FIRSTHDR(msg);
	unsigned int count = 0;

	if (header && header->cmsg_level == SOL_SOCKET &&
	    header->cmsg_type == SCM_RIGHTS) {
		count = (unsigned int)((header->cmsg_len - CMSG_LEN(0)) /
				       sizeof(int));
		memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	}
	if (count == HELLO_FDS && !(msg->msg_flags & MSG_CTRUNC))
		return 0;
	while (count)
		close(fds[--count]);
	return -EPROTO;
}

static int start_keeper(int socket, int pidfd, int board)
{
	const int fds[KEEPER_FDS_END - KEEPER_SOCKET_FD] = {socket, pidfd,
							    board};
	struct stat st;

	if (fstat(board, &st) || st.st_size != (off_t)BOARD_SIZE)
		return -EPROTO;
	return spawn_detached("/proc/self/exe", KEEPER_NAME, fds,
			      KEEPER_FDS_END - KEEPER_SOCKET_FD);
}

/* What a peer says: all that it ever says to us. */
static void hear(struct peer *peer)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct keeper_message hello;
	struct iovec iov = {&hello, sizeof(hello)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fds[FDS_MAX], r;
	ssize_t n = recvmsg(peer->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return; /* gone; or nothing came, which is not waited for */
	r = take_fds(&msg, fds);
	if (!r) {
		if (n != sizeof(hello) || msg.msg_flags & MSG_TRUNC ||
		    hello.version != KEEPER_VERSION ||
		    hello.kind != KEEPER_HELLO)
			r = -EPROTO;
		else
			r = start_keeper(peer->fd, fds[0], fds[1]);
		close(fds[0]);
		close(fds[1]);
	}
	if (!r || !n)
		return;
	fprintf(stderr, KEEPER_NAME ": no keeper for process %d: %s\n",
		peer->pid, strerror(-r));
	refuse(peer->fd, r);
}

/* poll(2)'s timeout until the first deadline. */
static int timeout_ms(const struct listener *listener)
{
	int64_t until_ns = INT64_MAX, now = clock_now_ns();

	if (listener->peers)
		until_ns = listener->peer[0].deadline_ns;
	if (listener->accept_ns > now && listener->accept_ns < until_ns)
		until_ns = listener->accept_ns;
	if (until_ns == INT64_MAX)
		return -1;
	return until_ns <= now ? 0 : (int)((until_ns - now + 999999) / 1000000);
}

static void serve(struct listener *listener)
{
	enum {
		SIGNALS,
		LISTENER,
		FIRST_PEER
	};
	struct pollfd sources[FIRST_PEER + PEERS_MAX];

	for (;;) {
		unsigned int peers = listener->peers;
		bool accepts = listener->accept_ns <= clock_now_ns();

		sources[SIGNALS] = (struct pollfd){
			.fd = listener->signals,
			.events = POLLIN,
		};
		sources[LISTENER] = (struct pollfd){
			.fd = accepts ? listener->fd : -1,
			.events = POLLIN,
		};
		for (unsigned int n = 0; n < peers; n++)
			sources[FIRST_PEER + n] = (struct pollfd){
				.fd = listener->peer[n].fd,
				.events = POLLIN,
			};
		if (poll(sources, FIRST_PEER + peers, timeout_ms(listener)) < 0)
			continue;
		if (sources[SIGNALS].revents)
			return;
		/* From the last: those before it keep their places. */
		for (unsigned int n = peers; n-- > 0;) {
			struct peer *peer = &listener->peer[n];

			if (sources[FIRST_PEER + n].revents)
				hear(peer);
			else if (peer->deadline_ns > clock_now_ns())
				continue;
			else
				refuse(peer->fd, -ETIMEDOUT);
			drop(listener, n);
		}
		if (sources[LISTENER].revents)
			accept_peer(listener);
	}
}

int keeper_listen(const char *path)
{
	struct listener listener = {0};
	struct rlimit limit;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* As PID 1 it inherits its keepers; nobody wants to know how they end.
	 */
	signal(SIGCHLD, SIG_IGN);
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	listener.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (listener.signals < 0) {
		int error = errno;

		fprintf(stderr, KEEPER_NAME ": no signalfd: %s\n",
			strerror(error));
		return -error;
	}
	listener.fd = keeper_socket_open(path);
	if (listener.fd < 0)
		return listener.fd;
	serve(&listener);

	while (listener.peers)
		drop(&listener, 0);
	keeper_socket_close(listener.fd, path);
	close(listener.signals);
	return 0;
}
