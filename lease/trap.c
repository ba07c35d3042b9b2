/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page faults that wait: trap.h. Source: userfaultfd(2), ioctl_userfaultfd(2),
 * Linux 6.1 fs/userfaultfd.c and mm/userfaultfd.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"
#include "reason.h"
#include "trap.h"

#ifndef USERFAULTFD_IOC_NEW /* Linux 6.1; bookworm's header has it */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define DEVICE "/dev/userfaultfd"
#define REMEDY                                                                 \
	"give it access to " DEVICE " (Linux 6.1), or CAP_SYS_PTRACE, or "     \
	"write 1 to /proc/sys/vm/unprivileged_userfaultfd; or, if none of "    \
	"its system calls reads or writes there meanwhile, set "               \
	"DAXMR_UFFD=user"

#ifndef UFFD_USER_MODE_ONLY /* Linux 5.11 */
#define UFFD_USER_MODE_ONLY 1
#endif

/* By system call, or by the device where that takes a privilege. */
static int new_fd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int device, error = errno;

	if (fd >= 0 || error != EPERM)
		return fd < 0 ? -error : fd;
	device = raw_open(AT_FDCWD, DEVICE, O_RDWR);
	if (device < 0)
		return -EPERM;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	raw_close(device);
	return fd < 0 ? -EPERM : fd;
}

int trap_open(enum uffd uffd, struct trap *ret)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_MINOR_SHMEM,
	};
	int saved_errno = errno, fd = new_fd();

	if (fd == -EPERM && uffd == UFFD_USER) {
		fd = (int)syscall(SYS_userfaultfd,
				  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
		if (fd < 0)
			fd = -errno;
	}
	errno = saved_errno;
	if (fd == -EPERM)
		return reason_set_kind(
			REASON_PRIVILEGE, -EPERM,
			"the program's threads have to wait while a "
			"shadow and the file change places, or "
			"stores are lost, and this process may not "
			"hold up page faults of system calls "
			"(userfaultfd): " REMEDY);
	if (fd < 0)
		return reason_set(fd, "no userfaultfd: %s",
				  strerrordesc_np(-fd));
	if (ioctl(fd, UFFDIO_API, &api)) {
		raw_close(fd);
		errno = saved_errno;
		return reason_set(-EOPNOTSUPP,
				  "this kernel's userfaultfd does not hold up "
				  "faults of shared memory: it takes Linux "
				  "5.14 or later");
	}
	ret->fd = fd;
	return 0;
}

int trap_set(const struct trap *trap, uintptr_t addr, size_t length)
{
	struct uffdio_register range = {
		.range = {addr, length},
		.mode = UFFDIO_REGISTER_MODE_MISSING |
			UFFDIO_REGISTER_MODE_MINOR,
	};

	return ioctl(trap->fd, UFFDIO_REGISTER, &range) ? -errno : 0;
}

int trap_set_private(const struct trap *trap, uintptr_t addr, size_t length)
{
	struct uffdio_register range = {
		.range = {addr, length},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(trap->fd, UFFDIO_REGISTER, &range) ? -errno : 0;
}

/*
 * EAGAIN lasts as long as a thread that moves what is trapped waits for its
 * move to be read of. Of a fault that is read instead nothing is lost: it waits
 * on.
 */
static void hear_of_move(const struct trap *trap)
{
	uintptr_t addr;

	trap_read(trap, 0, &addr);
}

int trap_copy(const struct trap *trap, uintptr_t addr, const void *bytes,
	      size_t length)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	uint64_t at = 0;

	while (at < length) {
		struct uffdio_copy rest = {
			.dst = addr + at,
			.src = (uintptr_t)bytes + at,
			.len = length - at,
		};

		if (!ioctl(trap->fd, UFFDIO_COPY, &rest))
			break;
		at += rest.copy > 0 ? (uint64_t)rest.copy : 0;
		/* As any page fault does; there is no way back. */
		if (errno == ENOMEM)
			nanosleep(&pause, NULL);
		else if (errno == EAGAIN)
			hear_of_move(trap);
		else if (errno == ENOENT)
			break;
		else
			return -errno;
	}
	return 0;
}

bool trap_is_free(uintptr_t addr, size_t length)
{
	int saved_errno = errno;
	struct trap trap = {.fd = -1};
	bool is_free;

	if (trap_open(UFFD_USER, &trap))
		return false;
	is_free = !trap_set(&trap, addr, length);
	trap_close(&trap);
	errno = saved_errno;
	return is_free;
}

int trap_freeze(uintptr_t addr, size_t length)
{
	return syscall(SYS_madvise, addr, length, MADV_DONTNEED_LOCKED) ? -errno
									: 0;
}

int trap_read(const struct trap *trap, int timeout_ms, uintptr_t *ret_addr)
{
	struct pollfd source = {.fd = trap->fd, .events = POLLIN};
	struct uffd_msg message;

	if (raw_read(trap->fd, &message, sizeof(message)) < 0) {
		if (errno != EAGAIN)
			return -errno;
		if (raw_poll(&source, 1, timeout_ms) <= 0)
			return TRAP_NOTHING;
		if (raw_read(trap->fd, &message, sizeof(message)) < 0)
			return errno == EAGAIN ? TRAP_NOTHING : -errno;
	}
	switch (message.event) {
	case UFFD_EVENT_PAGEFAULT:
		*ret_addr = (uintptr_t)message.arg.pagefault.address;
		return TRAP_FAULT;
	case UFFD_EVENT_REMAP:
		*ret_addr = (uintptr_t)message.arg.remap.to;
		return TRAP_MOVED;
	default:
		return TRAP_NOTHING;
	}
}

int trap_let_go(const struct trap *trap, uintptr_t addr, size_t length)
{
	struct uffdio_range all = {addr, length};
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = addr + length;
	uint64_t at = addr;

	while (at < end) {
		struct uffdio_continue rest = {.range = {at, end - at}};

		if (!ioctl(trap->fd, UFFDIO_CONTINUE, &rest))
			break;
		/* Mappings are being changed: what is done stays done. */
		if (errno == EAGAIN) {
			at += rest.mapped > 0 ? (uint64_t)rest.mapped : 0;
			hear_of_move(trap);
		} else if (errno == EEXIST) {
			at += page;
		} else if (errno == ENOENT) {
			break; /* the program has unmapped it meanwhile */
		} else {
			return -errno;
		}
	}
	return ioctl(trap->fd, UFFDIO_WAKE, &all) ? -errno : 0;
}

void trap_close(struct trap *trap)
{
	raw_close(trap->fd);
	trap->fd = -1;
}
