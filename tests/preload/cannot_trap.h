/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests whose programs have threads, or files that come back later. */
#ifndef DAXMR_TESTS_CANNOT_TRAP_H
#define DAXMR_TESTS_CANNOT_TRAP_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* For main(): 77 and a sentence where no userfaultfd is to be had, else 0. */
static inline int cannot_trap(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("this process may not have a userfaultfd (%s)\n",
		       strerror(errno));
		return 77;
	}
	close(fd);
	return 0;
}

#endif
