/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that take little: own_thread.h. */
#include <errno.h>
#include <stdint.h>

#include "own_thread.h"
#include "raw.h"

#define PAGE	4096UL
#define DEEPEST (64UL << 10) /* of the stack, kept free of huge pages */
#define MOST	(1UL << 30)
#define TIMES	4

int own_thread_start(pthread_t *ret, size_t stack, bool is_detached,
		     void *(*fn)(void *arg), void *arg)
{
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r)
		return r;
	if (is_detached)
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	do {
		r = pthread_attr_setstacksize(&attr, stack);
		if (!r)
			r = pthread_create(ret, &attr, fn, arg);
		stack *= TIMES;
	} while (r == EINVAL && stack <= MOST);
	pthread_attr_destroy(&attr);
	return r;
}

void own_thread_keep_small(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) & ~(PAGE - 1);
	int saved_errno = errno;

	syscall(SYS_madvise, here - DEEPEST, DEEPEST + PAGE, MADV_NOHUGEPAGE);
	errno = saved_errno;
}
