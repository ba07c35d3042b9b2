/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls past whoever has put itself before the C library's: for code
 * that the engine's thread runs. Its descriptors are not the program's, and
 * neither a preload that follows close() and mmap() nor ThreadSanitizer, for
 * which a number is one file in all threads, can know. As the C library's:
 * -1 and errno.
 */
#ifndef DAXMR_LEASE_RAW_H
#define DAXMR_LEASE_RAW_H

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline int raw_open(int dir, const char *path, int flags)
{
	return (int)syscall(SYS_openat, dir, path, flags | O_CLOEXEC, 0);
}

static inline int raw_close(int fd)
{
	return (int)syscall(SYS_close, fd);
}

/* On 64-bit machines the C library's struct stat is the kernel's. */
static inline int raw_stat(int fd, struct stat *ret)
{
	return (int)syscall(SYS_fstat, fd, ret);
}

static inline int raw_stat_at(int dir, const char *path, struct stat *ret,
			      int flags)
{
	return (int)syscall(SYS_newfstatat, dir, path, ret, flags);
}

static inline ssize_t raw_read(int fd, void *buffer, size_t size)
{
	return syscall(SYS_read, fd, buffer, size);
}

static inline ssize_t raw_recvmsg(int fd, struct msghdr *msg)
{
	return syscall(SYS_recvmsg, fd, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
}

static inline ssize_t raw_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return syscall(SYS_sendmsg, fd, msg, MSG_NOSIGNAL | flags);
}

static inline int raw_socketpair(int type, int pair[2])
{
	return (int)syscall(SYS_socketpair, AF_UNIX, type | SOCK_CLOEXEC, 0,
			    pair);
}

/* timeout_ms: -1 for ever. */
static inline int raw_poll(struct pollfd *sources, unsigned int count,
			   int timeout_ms)
{
	struct timespec timeout = {timeout_ms / 1000,
				   timeout_ms % 1000 * 1000000L};

	return (int)syscall(SYS_ppoll, sources, count,
			    timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

static inline int raw_fallocate(int fd, int mode, uint64_t offset,
				uint64_t length)
{
	return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}

static inline int raw_madvise(void *addr, size_t length, int advice)
{
	return (int)syscall(SYS_madvise, addr, length, advice);
}

/* The engine's own: neither a forked child's, nor in a core dump. */
static inline int raw_keep_to_us(void *addr, size_t length)
{
	return raw_madvise(addr, length, MADV_DONTFORK)
		       ? -1
		       : raw_madvise(addr, length, MADV_DONTDUMP);
}

/* Shared, at an address that the kernel chooses; MAP_FAILED and errno. */
static inline void *raw_map(int fd, size_t length, int protection, off_t offset)
{
	return (void *)syscall(SYS_mmap, NULL, length, protection,
			       /* MAP_SHARED */ 1, fd, offset);
}

/* Memory of no file; flags beside MAP_PRIVATE | MAP_ANONYMOUS. */
static inline void *raw_map_memory(size_t length, int flags)
{
	return (void *)syscall(SYS_mmap, NULL, length,
			       /* PROT_READ | PROT_WRITE */ 3, 0x22 | flags, -1,
			       0L);
}

static inline int raw_unmap(void *addr, size_t length)
{
	return (int)syscall(SYS_munmap, addr, length);
}

#endif
