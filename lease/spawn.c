/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process of its own: spawn.h.
 *
 * Both children run on stacks of their own in the caller's memory while the
 * caller's thread waits in clone(), so they may do system calls and nothing
 * else, and no signal may reach them. errno is the caller's too.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"

#define FIRST_FD   3
#define STACK_SIZE (64 * 1024)
#define NO_SANITIZE                                                            \
	__attribute__((no_sanitize("address", "thread", "undefined")))

struct spawn {
	const char *path;
	const int *fds;
	int count;
	char *stack; /* of the second child: its end */
	int error;
};

/* Everything out of the way first: fds[] may have any numbers. */
NO_SANITIZE static int arrange_fds(const struct spawn *spawn)
{
	int end = FIRST_FD + spawn->count, at[8], null;

	for (int i = 0; i < spawn->count; i++) {
		at[i] = fcntl(spawn->fds[i], F_DUPFD, end);
		if (at[i] < 0)
			return -1;
	}
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		return -1;
	for (int i = 0; i < FIRST_FD; i++)
		if (null != i && dup2(null, i) < 0)
			return -1;
	for (int i = 0; i < spawn->count; i++)
		if (dup2(at[i], FIRST_FD + i) < 0)
			return -1;
	return close_range((unsigned int)end, UINT_MAX, 0);
}

NO_SANITIZE static int second_child(void *arg)
{
	struct spawn *spawn = arg;
	char *const argv[] = {(char *)spawn->path, NULL};
	char *const envp[] = {NULL};

	if (setsid() >= 0 && !chdir("/") && !arrange_fds(spawn))
		execve(spawn->path, argv, envp);
	spawn->error = -errno;
	_exit(127);
}

NO_SANITIZE static int first_child(void *arg)
{
	struct spawn *spawn = arg;

	if (clone(second_child, spawn->stack, CLONE_VM | CLONE_VFORK, spawn) <
	    0)
		spawn->error = -errno;
	_exit(0);
}

int spawn_detached(const char *path, const int *fds, int count)
{
	struct spawn spawn = {.path = path, .fds = fds, .count = count};
	sigset_t all, before;
	int saved_errno = errno;
	char *stacks;
	pid_t pid;

	stacks = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stacks == MAP_FAILED)
		return -errno;
	spawn.stack = stacks + 2 * STACK_SIZE;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(first_child, stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK,
		    &spawn);
	if (pid < 0)
		spawn.error = -errno;
	else
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	munmap(stacks, 2 * STACK_SIZE);
	errno = saved_errno;
	return spawn.error;
}
