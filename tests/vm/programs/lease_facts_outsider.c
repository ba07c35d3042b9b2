/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that do something to the file from outside.
 *
 * An outsider is a fork that reads requests from a socket: a function of this
 * program, a path, a number, maybe a descriptor.  It answers each with the
 * function's result.  Its parent's death kills it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_facts.h"

struct request {
	act_fn act;
	long argument;
	char path[256];
};

int outsider_given = -1, outsider_gives = -1, outsider_fd = -1;
unsigned char *outsider_map;

/* Returns the number of bytes; with fd below 0 none is sent. */
static ssize_t packet_send(int socket, void *data, size_t size, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = {{0}};
	struct iovec iov = {data, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL);
}

static ssize_t packet_receive(int socket, void *data, size_t size, int *ret_fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control;
	struct iovec iov = {data, size};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.space,
				 .msg_controllen = sizeof(control.space)};
	ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;

	*ret_fd = -1;
	if (header)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
	return n;
}

static _Noreturn void serve(int socket)
{
	struct request request = {0};
	long result;

	while (packet_receive(socket, &request, sizeof(request),
			      &outsider_given) == sizeof(request)) {
		outsider_gives = -1;
		result = request.act(request.path, request.argument);
		if (packet_send(socket, &result, sizeof(result),
				outsider_gives) != sizeof(result))
			break;
	}
	_exit(1);
}

void outsider_start(struct outsider *o)
{
	pid_t parent = getpid();
	int ends[2], signo;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	o->pid = fork();
	assert_int_not_equal(o->pid, -1);
	if (o->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		/* cmocka's own handlers would run its tests on from here. */
		for (signo = 1; signo < SIGSYS + 1; signo++)
			signal(signo, SIG_DFL);
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		close(ends[0]);
		serve(ends[1]);
	}
	close(ends[1]);
	o->socket = ends[0];
}

void outsider_ask_fd(struct outsider *o, act_fn act, const char *path, long arg,
		     int fd)
{
	struct request request = {.act = act, .argument = arg};

	snprintf(request.path, sizeof(request.path), "%s", path);
	assert_int_equal(packet_send(o->socket, &request, sizeof(request), fd),
			 sizeof(request));
}

void outsider_ask(struct outsider *o, act_fn act, const char *path, long arg)
{
	outsider_ask_fd(o, act, path, arg, -1);
}

bool outsider_has_answered(const struct outsider *o)
{
	struct pollfd p = {.fd = o->socket, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

long outsider_answer_fd(struct outsider *o, int *ret_fd)
{
	struct pollfd p = {.fd = o->socket, .events = POLLIN};
	long result;
	int fd;

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("no answer of an outsider in %d s", WAIT_MS / 1000);
	if (packet_receive(o->socket, &result, sizeof(result), &fd) !=
	    sizeof(result))
		fail_msg("an outsider ended without an answer");
	if (ret_fd)
		*ret_fd = fd;
	else
		assert_int_equal(fd, -1);
	return result;
}

long outsider_answer(struct outsider *o)
{
	return outsider_answer_fd(o, NULL);
}

long outsider_do(struct outsider *o, act_fn act, const char *path, long arg)
{
	outsider_ask(o, act, path, arg);
	return outsider_answer(o);
}

/* Is there a breaker of this process: "3: -> LEASE BREAKER READ 471 ..."? */
static bool is_waiting(const void *arg)
{
	const pid_t *pid = arg;
	char line[256], how[16];
	bool found = false;
	int waiter;
	FILE *in;

	in = fopen("/proc/locks", "re");
	if (!in)
		return false;
	while (fgets(line, sizeof(line), in))
		if (sscanf(line, "%*s -> %*s %15s %*s %d", how, &waiter) == 2 &&
		    !strcmp(how, "BREAKER") && waiter == *pid)
			found = true;
	fclose(in);
	return found;
}

void process_waits_for_lease(pid_t pid)
{
	wait_until(is_waiting, &pid, "somebody waits for the lease's holder");
}

void outsider_waits(const struct outsider *o)
{
	process_waits_for_lease(o->pid);
	assert_false(outsider_has_answered(o));
}

int outsider_wait(struct outsider *o)
{
	int status = 0;

	if (o->pid > 0) {
		while (waitpid(o->pid, &status, 0) < 0 && errno == EINTR)
			;
		close(o->socket);
	}
	o->pid = 0;
	o->socket = -1;
	return status;
}

int outsider_kill(struct outsider *o)
{
	if (o->pid > 0)
		kill(o->pid, SIGKILL);
	return outsider_wait(o);
}

long act_open(const char *path, long flags)
{
	outsider_fd = open(path, (int)flags | O_CLOEXEC);
	return outsider_fd < 0 ? -errno : 0;
}

long act_close(const char *path, long unused)
{
	(void)path;
	(void)unused;
	return close(outsider_fd) < 0 ? -errno : 0;
}

long act_truncate(const char *path, long size)
{
	return truncate(path, size) < 0 ? -errno : 0;
}

long act_take(const char *path, long unused)
{
	long result = act_open(path, O_RDWR);

	(void)unused;
	if (result < 0)
		return result;
	outsider_gives = outsider_fd;
	if (fcntl(outsider_fd, F_SETSIG, LEASE_SIGNAL) < 0)
		return -errno;
	return lease_set(outsider_fd, F_WRLCK);
}

long act_map(const char *path, long unused)
{
	(void)path;
	(void)unused;
	outsider_map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    outsider_fd, 0);
	if (outsider_map == MAP_FAILED)
		return -errno;
	return act_close(path, 0);
}

long act_store(const char *path, long value)
{
	(void)path;
	*(volatile unsigned char *)outsider_map = (unsigned char)value;
	return 0;
}

long act_load(const char *path, long unused)
{
	unsigned char byte;

	(void)path;
	(void)unused;
	if (pread(outsider_fd, &byte, 1, 0) != 1)
		return -EIO;
	return byte;
}
