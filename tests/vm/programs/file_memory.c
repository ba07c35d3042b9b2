/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An allocator, preloaded, that gives memory of a file: the first large buffer
 * that its program asks posix_memalign() for is the beginning of the file that
 * FILE_MEMORY names. For programs that register what they have allocated: the
 * first such of rsocket's is what it sends from.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE 65536U

void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *at);

static void *given;
static size_t given_size;

static int give(const char *path, void **ret, size_t size)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *at;

	if (fd < 0)
		return ENOMEM;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return ENOMEM;
	given_size = size;
	given = *ret = at;
	return 0;
}

__attribute__((visibility("default"))) int
posix_memalign(void **ret, size_t alignment, size_t size)
{
	static atomic_flag is_given = ATOMIC_FLAG_INIT;
	const char *path = size < LARGE ? NULL : getenv("FILE_MEMORY");

	if (path && !atomic_flag_test_and_set(&is_given))
		return give(path, ret, size);
	*ret = __libc_memalign(alignment, size);
	return *ret ? 0 : ENOMEM;
}

__attribute__((visibility("default"))) void free(void *at)
{
	if (at && at == given) {
		munmap(given, given_size);
		given = NULL;
		return;
	}
	__libc_free(at);
}
