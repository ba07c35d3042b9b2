/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_scattered DIRECTORY
 *
 * One region over mappings of one page each: of a whole file in no order, which
 * is one shadow; and of every second page of a file, where descriptors run out:
 * that is refused, with nothing changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ends.h"

#define PAGE	   4096UL
#define SHUFFLED   1024UL
#define STEP	   409UL /* prime to SHUFFLED */
#define SPARSE	   200UL
#define SPARSE_FEW 8UL
#define FEW_FDS	   64
#define UNALIGNED  100UL /* the region begins and ends inside pages */

static unsigned char *map_pages(int fd, size_t count, size_t step, size_t pages)
{
	unsigned char *base = mmap(NULL, count * PAGE, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		die("no addresses");
	for (size_t i = 0; i < count; i++)
		if (mmap(base + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd,
			 (off_t)(i * step % pages * PAGE)) == MAP_FAILED)
			die("mmap of page %zu: %m", i);
	return base;
}

/* How many different files [start, start + length) shows, that are memfds. */
static size_t count_shadows(const void *start, size_t length)
{
	uintptr_t from = (uintptr_t)start, to = from + length;
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long inodes[SHUFFLED];
	char line[512];
	size_t count = 0;

	if (!maps)
		die("/proc/self/maps: %m");
	while (fgets(line, sizeof(line), maps)) {
		unsigned long begin, end, inode;
		size_t i = 0;

		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &begin, &end,
			   &inode) != 3 ||
		    begin >= to || end <= from || !strstr(line, "/memfd:"))
			continue;
		while (i < count && inodes[i] != inode)
			i++;
		if (i == count && count < SHUFFLED)
			inodes[count++] = inode;
	}
	fclose(maps);
	return count;
}

static int open_file(const char *directory, const char *name, size_t length)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, (off_t)length))
		die("%s cannot be made", path);
	return fd;
}

/* Of the page that was the i-th in memory. */
static void check_page(int fd, const unsigned char *expected, size_t i,
		       size_t page)
{
	unsigned char found[PAGE];

	if (pread(fd, found, PAGE, (off_t)(page * PAGE)) != (ssize_t)PAGE)
		die("page %zu of the file: %m", page);
	if (memcmp(found, expected + i * PAGE, PAGE))
		die("page %zu of the file is not what was written at page %zu "
		    "of the region",
		    page, i);
}

static void shuffled(const char *directory, struct end *host, struct end *peer)
{
	size_t size = SHUFFLED * PAGE, length = size - 2 * UNALIGNED;
	int fd = open_file(directory, "shuffled", size);
	unsigned char *memory = map_pages(fd, SHUFFLED, STEP, SHUFFLED);
	unsigned char *expected = malloc(size), *bytes = malloc(size);
	struct ibv_mr *mr, *bytes_mr;
	size_t shadows;

	if (!expected || !bytes)
		die("no memory");
	fill_pattern(memory, size, 0, 1);
	fill_pattern(expected, size, 0, 1);
	mr = end_register(host, memory + UNALIGNED, length, REMOTE_ALL);
	shadows = count_shadows(memory, size);
	if (shadows != 1)
		die("%zu shadows took the place of one file", shadows);
	if (memcmp(memory, expected, size))
		die("the shadow is not what the file was");

	bytes_mr = end_register(peer, bytes, size, IBV_ACCESS_LOCAL_WRITE);
	if (end_rdma(peer, IBV_WR_RDMA_READ, bytes_mr, bytes, (uint32_t)length,
		     (uintptr_t)memory + UNALIGNED, mr->rkey) ||
	    memcmp(bytes, expected + UNALIGNED, length))
		die("the peer does not read what the file was");
	fill_pattern(bytes, length, 0, 2);
	memcpy(expected + UNALIGNED, bytes, length);
	if (end_rdma(peer, IBV_WR_RDMA_WRITE, bytes_mr, bytes, (uint32_t)length,
		     (uintptr_t)memory + UNALIGNED, mr->rkey))
		die("the peer cannot write");
	for (size_t i = 0; i < SHUFFLED; i++)
		memory[i * PAGE + 7] = expected[i * PAGE + 7] =
			(unsigned char)i;
	if (ibv_dereg_mr(mr) || ibv_dereg_mr(bytes_mr))
		die("ibv_dereg_mr: %m");

	if (count_shadows(memory, size))
		die("a shadow is left");
	if (memcmp(memory, expected, size))
		die("the file is not mapped back as it was");
	for (size_t i = 0; i < SHUFFLED; i++)
		check_page(fd, expected, i, i * STEP % SHUFFLED);
	munmap(memory, size);
	free(expected);
	free(bytes);
	close(fd);
}

static void sparse(const char *directory, struct end *host)
{
	size_t size = SPARSE * PAGE;
	int fd = open_file(directory, "sparse", 2 * size);
	unsigned char *memory = map_pages(fd, SPARSE, 2, 2 * SPARSE);
	unsigned char *expected = malloc(size);
	struct rlimit old, few;
	struct ibv_mr *mr;

	if (!expected || getrlimit(RLIMIT_NOFILE, &old))
		die("no memory");
	few = (struct rlimit){FEW_FDS, old.rlim_max};
	fill_pattern(memory, size, 0, 3);
	fill_pattern(expected, size, 0, 3);
	if (setrlimit(RLIMIT_NOFILE, &few))
		die("RLIMIT_NOFILE: %m");
	errno = 0;
	mr = ibv_reg_mr(host->pd, memory, size, REMOTE_ALL);
	if (mr)
		die("%lu pieces were registered with %d descriptors", SPARSE,
		    FEW_FDS);
	printf("errno %s\n", strerrorname_np(errno));
	if (count_shadows(memory, size))
		die("a shadow is left of what was refused");
	memory[9] = expected[9] = 99;
	if (memcmp(memory, expected, size))
		die("the file is not mapped as it was");
	/* What there are descriptors for is not in its way. */
	mr = end_register(host, memory, SPARSE_FEW * PAGE, REMOTE_ALL);
	if (setrlimit(RLIMIT_NOFILE, &old))
		die("RLIMIT_NOFILE: %m");
	memory[PAGE + 9] = expected[PAGE + 9] = 98;
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
	mr = end_register(host, memory, size, REMOTE_ALL);
	memory[size - 1] = expected[size - 1] = 97;
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
	for (size_t i = 0; i < SPARSE; i++)
		check_page(fd, expected, i, 2 * i);
	munmap(memory, size);
	free(expected);
	close(fd);
}

int main(int argc, char **argv)
{
	struct end host, peer;

	if (argc != 2)
		die("rdma_scattered DIRECTORY");
	end_open(&host);
	end_open(&peer);
	ends_connect(&host, &peer);
	shuffled(argv[1], &host, &peer);
	sparse(argv[1], &host);
	end_close(&peer);
	end_close(&host);
	return 0;
}
