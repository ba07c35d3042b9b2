/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All calls on files that the preload hooks, ROUNDS times each, in a program
 * without a lease: to be counted by strace. Arguments: ROUNDS, a file.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir, const char *path, int flags);
int __openat64_2(int dir, const char *path, int flags);

ssize_t __read_chk(int fd, void *buffer, size_t length, size_t room);
ssize_t __pread_chk(int fd, void *buffer, size_t length, off_t offset,
		    size_t room);
ssize_t __pread64_chk(int fd, void *buffer, size_t length, off_t offset,
		      size_t room);

/* From and to a pipe and the file, which is long enough. */
static int transfers(int fd)
{
	char bytes[16] = "";
	struct iovec one = {bytes, 16};
	off64_t in = 0, out = 64;
	int failed, ends[2];

	if (pipe(ends))
		return 1;
	failed = write(ends[1], bytes, 16) != 16;
	failed += read(ends[0], bytes, 16) != 16;
	failed += writev(ends[1], &one, 1) != 16;
	failed += readv(ends[0], &one, 1) != 16;
	failed += pwrite(fd, bytes, 16, 0) != 16;
	failed += pwrite64(fd, bytes, 16, 0) != 16;
	failed += pwritev(fd, &one, 1, 0) != 16;
	failed += pwritev64(fd, &one, 1, 0) != 16;
	failed += pwritev2(fd, &one, 1, 0, 0) != 16;
	failed += pwritev64v2(fd, &one, 1, 0, 0) != 16;
	failed += pread(fd, bytes, 16, 0) != 16;
	failed += pread64(fd, bytes, 16, 0) != 16;
	failed += preadv(fd, &one, 1, 0) != 16;
	failed += preadv64(fd, &one, 1, 0) != 16;
	failed += preadv2(fd, &one, 1, 0, 0) != 16;
	failed += preadv64v2(fd, &one, 1, 0, 0) != 16;
	failed += __pread_chk(fd, bytes, 16, 0, 16) != 16;
	failed += __pread64_chk(fd, bytes, 16, 0, 16) != 16;
	failed += sendfile(ends[1], fd, &in, 16) != 16;
	failed += sendfile64(ends[1], fd, &in, 16) != 16;
	failed += splice(fd, &in, ends[1], NULL, 16, 0) != 16;
	failed += __read_chk(ends[0], bytes, 16, 16) != 16;
	failed += copy_file_range(fd, &in, fd, &out, 16, 0) != 16;
	return failed + close(ends[0]) + close(ends[1]);
}

static int one_round(const char *path, char *map)
{
	const int at = AT_FDCWD;
	int fds[] = {
		open(path, O_RDWR),
		open64(path, O_RDWR),
		__open_2(path, O_RDWR),
		__open64_2(path, O_RDWR),
		openat(at, path, O_RDWR),
		openat64(at, path, O_RDWR),
		__openat_2(at, path, O_RDWR),
		__openat64_2(at, path, O_RDWR),
		creat(path, 0600),
		creat64(path, 0600),
	};
	int failed = 0, fd = fds[0];

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		failed += fds[i] < 0;
	failed += truncate(path, 8192) || truncate64(path, 8192);
	failed += ftruncate(fd, 4096) || ftruncate64(fd, 4096);
	failed += fallocate(fd, 0, 0, 4096) || fallocate64(fd, 0, 0, 4096);
	failed +=
		posix_fallocate(fd, 0, 4096) || posix_fallocate64(fd, 0, 4096);
	failed += madvise(map, 4096, MADV_REMOVE) ||
		  posix_madvise(map, 4096, MADV_REMOVE);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	failed += mmap64(map, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) !=
		  map;
	map = mremap(map, 4096, 8192, MREMAP_MAYMOVE);
	failed += map == MAP_FAILED || munmap(map, 8192);
	failed += dup2(fds[1], fds[2]) < 0 || dup3(fds[1], fds[3], 0) < 0;
	failed += transfers(fd);
	failed += close(fd) || close_range(4, 6, 0);
	closefrom(3);
	return failed;
}

int main(int argc, char **argv)
{
	int fd, failed = 0;
	char *map;

	if (argc != 3)
		return 2;
	fd = open(argv[2], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 4096))
		return 2;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	for (int i = atoi(argv[1]); map != MAP_FAILED && i > 0; i--)
		failed += one_round(argv[2], map);
	if (failed || map == MAP_FAILED)
		fprintf(stderr, "%d calls failed\n", failed);
	return failed || map == MAP_FAILED;
}
