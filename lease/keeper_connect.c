/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper from outside: keeper_connect.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper_connect.h"
#include "keeper_proto.h"
#include "raw.h"
#include "reason.h"

#define HELLO_FDS 2

static int set_option(int fd, int option, const void *value, socklen_t size)
{
	return (int)syscall(SYS_setsockopt, fd, SOL_SOCKET, option, value,
			    size);
}

/* Connected, within the time also where nobody accepts; or -errno. */
static int reach(const char *path, int timeout_ms)
{
	struct timeval timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000L};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int yes = 1;
	int fd, r = 0;

	if (strlen(path) > KEEPER_LISTENER_MAX)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC,
			  0);
	if (fd < 0)
		return -errno;
	/*
	 * SNDTIMEO is for the connection; later nothing is sent that waits.
	 * PASSCRED: the kernel says who sent READY, in our own pids.
	 */
	if (set_option(fd, SO_SNDTIMEO, &timeout, sizeof(timeout)) ||
	    set_option(fd, SO_PASSCRED, &yes, sizeof(yes)))
		r = -errno;
	while (!r && syscall(SYS_connect, fd, &address, sizeof(address)) < 0)
		if (errno != EINTR)
			r = errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (r)
		raw_close(fd);
	return r ? r : fd;
}

/* Who listens, not who accepts: what it was at its listen(2). */
static int check_user(int fd, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return -errno;
	if (peer.uid != geteuid())
		return -EACCES;
	*ret_pid = peer.pid;
	return 0;
}

static int say_hello(int fd, int pidfd, int board_fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(HELLO_FDS * sizeof(int))];
	} control = {0};
	struct keeper_message hello = {
		.version = KEEPER_VERSION,
		.kind = KEEPER_HELLO,
	};
	const int fds[HELLO_FDS] = {pidfd, board_fd};
	struct iovec iov = {&hello, sizeof(hello)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	while (raw_sendmsg(fd, &msg, 0) < 0)
		if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return 0;
}

/* READY, and who sent it: a message's own pid may be of another namespace. */
static int await_ready(int fd, int timeout_ms, pid_t *ret_pid)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control = {0};
	struct keeper_message ready;
	struct iovec iov = {&ready, sizeof(ready)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct pollfd source = {.fd = fd, .events = POLLIN};
	struct ucred sender = {0};
	ssize_t n;
	int polled;

	do {
		polled = raw_poll(&source, 1, timeout_ms);
	} while (polled < 0 && errno == EINTR);
	if (!polled)
		return -ETIMEDOUT;
	n = syscall(SYS_recvmsg, fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return n < 0 && errno != ECONNRESET ? -errno : -EPIPE;
	if (n != sizeof(ready) || ready.version != KEEPER_VERSION ||
	    ready.kind != KEEPER_READY)
		return -EPROTO;
	if (ready.error)
		return ready.error;
	if (msg.msg_controllen >= sizeof(control.header) &&
	    control.header.cmsg_type == SCM_CREDENTIALS)
		memcpy(&sender, CMSG_DATA(&control.header), sizeof(sender));
	*ret_pid = sender.pid;
	return 0;
}

static int explain(const char *path, int error, bool is_connected)
{
	if (error == -EACCES && is_connected)
		return reason_set_kind(
			REASON_KEEPER, error,
			"the keeper that listens on %s is another "
			"user's: start `daxmr-keeper --listen` as "
			"user %u, and name its socket by "
			"DAXMR_KEEPER",
			path, geteuid());
	if (error == -EPROTO || error == -EPROTOTYPE)
		return reason_set_kind(
			REASON_KEEPER, error,
			"who listens on %s is not a daxmr-keeper of "
			"this version: start that of the same "
			"package as this library",
			path);
	if (is_connected)
		return reason_set_kind(
			REASON_KEEPER, error,
			"the keeper that listens on %s gave none to "
			"this program (%s): its standard error says "
			"more",
			path, strerrordesc_np(-error));
	return reason_set_kind(
		REASON_KEEPER, error,
		"no keeper can be reached on %s (%s): start "
		"`daxmr-keeper --listen %s`, or unset DAXMR_KEEPER "
		"for one that the program starts itself",
		path, strerrordesc_np(-error), path);
}

int keeper_connect(const char *path, int pidfd, int board_fd, int timeout_ms,
		   pid_t *ret_pid)
{
	const int no = 0;
	int fd = reach(path, timeout_ms), r;
	pid_t listener;

	if (fd < 0)
		return explain(path, fd, false);
	r = check_user(fd, &listener);
	if (!r)
		r = say_hello(fd, pidfd, board_fd);
	/* Refused before it was heard: the answer is there, and says why. */
	if (!r || r == -EPIPE)
		r = await_ready(fd, timeout_ms, ret_pid);
	if (!r && set_option(fd, SO_PASSCRED, &no, sizeof(no)))
		r = -errno;
	if (!r)
		return fd;
	raw_close(fd);
	return explain(path, r, true);
}

int keeper_find_listener(const char *path, int timeout_ms, pid_t *ret_pid)
{
	int fd = reach(path, timeout_ms), r;

	if (fd < 0)
		return explain(path, fd, false);
	r = check_user(fd, ret_pid);
	raw_close(fd);
	return r ? explain(path, r, true) : 0;
}
