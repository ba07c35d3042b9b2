/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process of its own: spawn.h.
 *
 * Both children run on stacks of their own in the caller's memory while the
 * caller's thread waits in clone(), so they may do raw system calls and nothing
 * else (a sanitizer's wrappers would leave the caller's state as in the middle
 * of execve()), and no signal may reach them. errno is the caller's too.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"
#include "spawn.h"

#define FIRST_FD   3
#define FDS_MAX	   8
#define STACK_SIZE (64 * 1024)
#define NO_SANITIZE                                                            \
	__attribute__((no_sanitize("address", "thread", "undefined")))

struct spawn {
	const char *path;
	const char *name;
	const int *fds;
	int count;
	char *stack; /* of the second child: its end */
	int error;
};

/* Everything out of the way first: fds[] may have any numbers. */
NO_SANITIZE static int arrange_fds(const struct spawn *spawn)
{
	int end = FIRST_FD + spawn->count, at[FDS_MAX], null;

	for (int i = 0; i < spawn->count; i++) {
		at[i] = (int)syscall(SYS_fcntl, spawn->fds[i], F_DUPFD, end);
		if (at[i] < 0)
			return -1;
	}
	null = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
	if (null < 0)
		return -1;
	for (int i = 0; i < FIRST_FD; i++)
		if (null != i && syscall(SYS_dup3, null, i, 0) < 0)
			return -1;
	for (int i = 0; i < spawn->count; i++)
		if (syscall(SYS_dup3, at[i], FIRST_FD + i, 0) < 0)
			return -1;
	return (int)syscall(SYS_close_range, end, UINT_MAX, 0);
}

/* Credentials are each child's own. Who hasn't got it goes on without. */
NO_SANITIZE static void keep_cap_lease(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3,
						  0};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &header, data))
		return;
	data[CAP_TO_INDEX(CAP_LEASE)].inheritable |= CAP_TO_MASK(CAP_LEASE);
	if (!syscall(SYS_capset, &header, data))
		syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE,
			CAP_LEASE, 0, 0);
}

NO_SANITIZE static int second_child(void *arg)
{
	struct spawn *spawn = arg;
	const char *const argv[] = {spawn->name, NULL};
	const char *const envp[] = {NULL};

	keep_cap_lease();
	if (syscall(SYS_setsid) >= 0 && !arrange_fds(spawn))
		syscall(SYS_execve, spawn->path, argv, envp);
	spawn->error = -errno;
	syscall(SYS_exit_group, 127);
	return 127;
}

/*
 * clone() by its other name: ThreadSanitizer wraps clone() and takes the child,
 * which shares its memory, for a fork.
 */
extern int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);

NO_SANITIZE static int first_child(void *arg)
{
	struct spawn *spawn = arg;

	if (__clone(second_child, spawn->stack, CLONE_VM | CLONE_VFORK, spawn) <
	    0)
		spawn->error = -errno;
	syscall(SYS_exit_group, 0);
	return 0;
}

int spawn_detached(const char *path, const char *name, const int *fds,
		   int count)
{
	struct spawn spawn = {
		.path = path,
		.name = name,
		.fds = fds,
		.count = count,
	};
	sigset_t all, before;
	int saved_errno = errno;
	char *stacks;
	pid_t pid;

	if (count > FDS_MAX)
		return -EINVAL;
	stacks = raw_map_memory(2 * STACK_SIZE, MAP_STACK);
	if (stacks == MAP_FAILED)
		return -errno;
	spawn.stack = stacks + 2 * STACK_SIZE;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = __clone(first_child, stacks + STACK_SIZE, CLONE_VM | CLONE_VFORK,
		      &spawn);
	if (pid < 0)
		spawn.error = -errno;
	else
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	raw_unmap(stacks, 2 * STACK_SIZE);
	errno = saved_errno;
	return spawn.error;
}
