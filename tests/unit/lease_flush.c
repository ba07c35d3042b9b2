/* SPDX-License-Identifier: BSD-2-Clause */
/* A file, its shadow, and what is between them: lease_flush.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"
#include "lease_flush.h"
#include "unit.h"

struct file file;
uint8_t *bytes;
uint8_t *shadow;
int shadow_fd;
struct extent_shelf shelf;
struct extent extent;
struct flush *flush;

int flush_set_up(void **state)
{
	(void)state;
	file_make(&file, OFFSET + SIZE);
	/* Blocks of its own, as a leased range has. */
	assert_int_equal(posix_fallocate(file.fd, 0, OFFSET + SIZE), 0);
	bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd,
		     OFFSET);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(shadow_fd >= 0);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		      0);
	assert_true(bytes != MAP_FAILED && shadow != MAP_FAILED);
	assert_int_equal(extent_new(&shelf, OFFSET, SIZE, &extent), 0);
	assert_int_equal(flush_open(file.fd, shadow_fd, &extent, &flush), 0);
	return 0;
}

int flush_tear_down(void **state)
{
	(void)state;
	flush_close(flush);
	munmap(bytes, SIZE);
	munmap(shadow, SIZE);
	extent_free(&shelf, &extent);
	close(shadow_fd);
	file_remove(&file);
	return 0;
}

void fill(uint64_t from, uint64_t end)
{
	for (uint64_t block = from; block < end; block++) {
		memset(shadow + block * PAGE, (int)(block % 255) + 1, PAGE);
		extent_set_filled(&extent, block);
	}
}

uint64_t copied(void)
{
	return atomic_load(&extent.page->copied);
}

int pass(void)
{
	uint64_t compared_before, copied_before;
	int r;

	/* Each test of cmocka's takes SIGBUS for itself. */
	assert_int_equal(fault_init(), 0);
	do {
		compared_before = atomic_load(&extent.page->compared);
		copied_before = copied();
		r = flush_piece(flush);
		assert_true(atomic_load(&extent.page->compared) -
				    compared_before <=
			    FLUSH_COMPARE / PAGE);
		assert_true(copied() - copied_before <= FLUSH_PIECE / PAGE);
	} while (r > 0);
	return r;
}

void check_same(uint64_t from, uint64_t end)
{
	for (uint64_t block = from; block < end; block++) {
		assert_memory_equal(bytes + block * PAGE, shadow + block * PAGE,
				    PAGE);
		assert_true(extent.digests[block] ==
			    extent_digest(&extent, bytes + block * PAGE));
	}
}
