/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that sleep at a futex that others may know, too: sleepers.h. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/uio.h>

#include "numbers.h"
#include "raw.h"
#include "sleepers.h"

/* Linux 6.7, and what its flags say of one that is private. */
#define NR_FUTEX_WAIT	455
#define FUTEX2_IS_LOCAL 128

/* A system call with its arguments. */
struct call {
	long number;
	unsigned long args[6];
};

struct waitv {
	uint64_t value;
	uint64_t addr;
	uint32_t flags;
	uint32_t reserved;
};

/* Does it sleep in one? Of those that run the kernel says nothing more. */
static bool read_call(int tasks_fd, pid_t tid, struct call *ret)
{
	char path[32], text[256];
	unsigned long *args = ret->args;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%d/syscall", (int)tid);
	fd = raw_open(tasks_fd, path, O_RDONLY);
	if (fd < 0)
		return false;
	n = raw_read(fd, text, sizeof(text) - 1);
	raw_close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return sscanf(text, "%ld %lx %lx %lx %lx %lx %lx", &ret->number,
		      &args[0], &args[1], &args[2], &args[3], &args[4],
		      &args[5]) == 7;
}

static int tell_one(pid_t tid, unsigned long addr, bool is_pi, sleeper_fn *fn,
		    void *arg)
{
	const struct sleeper sleeper = {tid, addr, is_pi};

	return fn(&sleeper, arg);
}

static int tell_futex(pid_t tid, const struct call *call, sleeper_fn *fn,
		      void *arg)
{
	int r;

	if (call->args[1] & FUTEX_PRIVATE_FLAG)
		return 0;
	switch (call->args[1] & (unsigned long)FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		return tell_one(tid, call->args[0], false, fn, arg);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return tell_one(tid, call->args[0], true, fn, arg);
	case FUTEX_WAIT_REQUEUE_PI:
		r = tell_one(tid, call->args[0], true, fn, arg);
		return r ? r : tell_one(tid, call->args[4], true, fn, arg);
	default:
		return 0;
	}
}

/* The list is the program's memory, which may be gone. */
static int tell_waitv(pid_t tid, const struct call *call, sleeper_fn *fn,
		      void *arg)
{
	struct waitv waits[FUTEX_WAITV_MAX];
	size_t count = call->args[1] < FUTEX_WAITV_MAX ? call->args[1]
						       : FUTEX_WAITV_MAX;
	struct iovec to = {waits, count * sizeof(waits[0])};
	struct iovec from = {(void *)call->args[0], to.iov_len};
	long n =
		syscall(SYS_process_vm_readv, getpid(), &to, 1L, &from, 1L, 0L);
	int r = 0;

	for (size_t i = 0; !r && n > 0 && i < (size_t)n / sizeof(waits[0]); i++)
		if (!(waits[i].flags & FUTEX_PRIVATE_FLAG))
			r = tell_one(tid, waits[i].addr, false, fn, arg);
	return r;
}

static int tell(pid_t tid, const struct call *call, sleeper_fn *fn, void *arg)
{
	switch (call->number) {
	case SYS_futex:
		return tell_futex(tid, call, fn, arg);
	case SYS_futex_waitv:
		return tell_waitv(tid, call, fn, arg);
	case NR_FUTEX_WAIT:
		if (call->args[3] & FUTEX2_IS_LOCAL)
			return 0;
		return tell_one(tid, call->args[0], false, fn, arg);
	case SYS_restart_syscall:
		/* A wait with a timeout that was stopped, with its registers,
		 * or another call: who is woken for nothing looks again. */
		return tell_one(tid, call->args[0], false, fn, arg);
	default:
		return 0;
	}
}

static int tell_task(int tasks_fd, pid_t tid, enum sleepers_memory memory,
		     sleeper_fn *fn, void *arg)
{
	struct call call;

	if (!read_call(tasks_fd, tid, &call) ||
	    (call.number == SYS_futex_waitv && memory == SLEEPERS_TRAPPED))
		return 0;
	return tell(tid, &call, fn, arg);
}

int sleepers_each(enum sleepers_memory memory, sleeper_fn *fn, void *arg)
{
	struct numbers numbers;
	int r = numbers_open(&numbers, AT_FDCWD, "/proc/self/task"), found;
	pid_t tid;

	if (r)
		return r;
	while (!r && (found = numbers_next(&numbers, &tid)))
		r = found < 0 ? found
			      : tell_task(numbers.fd, tid, memory, fn, arg);
	numbers_close(&numbers);
	return r;
}

/* For reading: the kernel is to allocate nothing there for it. */
void sleepers_wake(int fd, uint64_t offset)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), within = offset % page;
	char *at = raw_map(fd, page, PROT_READ, (off_t)(offset - within));

	if (at == MAP_FAILED)
		return;
	/* A child's would count as a use of the file, or of the shadow. */
	raw_keep_to_us(at, page);
	syscall(SYS_futex, at + within, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	raw_unmap(at, page);
}
