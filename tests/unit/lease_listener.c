/* SPDX-License-Identifier: BSD-2-Clause */
/* A daxmr-keeper that listens: lease_listener.h. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_file.h"
#include "lease_listener.h"
#include "unit.h"

static pid_t start(char *const *argv, int *ret_messages)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		execv(KEEPER_PATH, argv);
		_exit(99);
	}
	close(ends[1]);
	*ret_messages = ends[0];
	return pid;
}

/* What was written, to its end. */
static int end(pid_t pid, int messages, char *text, size_t size)
{
	size_t used = 0;
	int status;
	ssize_t n;

	while (used + 1 < size &&
	       (n = read(messages, text + used, size - used - 1)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(messages);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* connect() alone would be a peer to it: who listens is in /proc too. */
static bool listens(void *arg)
{
	const struct listener *listener = arg;
	char line[512];
	FILE *sockets = fopen("/proc/net/unix", "re");
	bool found = false;

	assert_non_null(sockets);
	while (!found && fgets(line, sizeof(line), sockets)) {
		unsigned int flags = 0;

		line[strcspn(line, "\n")] = '\0';
		sscanf(line, "%*s %*s %*s %x", &flags);
		/* __SO_ACCEPTCON: it listens */
		found = flags & 0x10000 &&
			strlen(line) > strlen(listener->path) &&
			!strcmp(line + strlen(line) - strlen(listener->path),
				listener->path);
	}
	fclose(sockets);
	return found;
}

void listener_start(struct listener *listener)
{
	char *const argv[] = {(char *)"daxmr-keeper", (char *)"--listen",
			      listener->path, NULL};

	if (!listener->path[0])
		snprintf(listener->path, sizeof(listener->path),
			 "/tmp/daxmr-keeper-test-%d", getpid());
	listener->pid = start(argv, &listener->messages);
	wait_for(listens, listener, "the keeper listens");
}

int listener_peer(const struct listener *listener)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, listener->path);
	assert_true(fd >= 0);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* It serves one after the other: the end of the last tells. */
unsigned int listener_fds(const struct listener *listener)
{
	int fd = listener_peer(listener);
	char text[256];

	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	while (recv(fd, text, sizeof(text), 0) > 0)
		;
	close(fd);
	return process_fds(listener->pid);
}

int listener_end(struct listener *listener, int number, char *text, size_t size)
{
	kill(listener->pid, number);
	return end(listener->pid, listener->messages, text, size);
}

int keeper_command_run(char *const *argv, char *text, size_t size)
{
	int messages;
	pid_t pid = start(argv, &messages);

	return end(pid, messages, text, size);
}
