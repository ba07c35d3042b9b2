/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "file_mapping.h"

#define PAGE	FILE_MAPPING_PAGE
#define SIZE	FILE_MAPPING_SIZE
#define THREADS 3U
#define WORDS	(SIZE / sizeof(uint64_t) / THREADS)

const char *file_mapping_folder(void)
{
	const char *folder = getenv("DAXMR_TEST_DAX_DIR");

	return folder ? folder : ".";
}

void file_mapping_make(struct file_mapping *file, size_t size)
{
	int fd;

	snprintf(file->path, sizeof(file->path), "%s/mapping-test-XXXXXX",
		 file_mapping_folder());
	fd = mkostemp(file->path, O_CLOEXEC);
	assert_true(fd >= 0);
	for (size_t at = 0; at < size; at += PAGE) {
		char page[PAGE];
		size_t bytes = size - at < PAGE ? size - at : PAGE;

		memset(page, 'a' + (int)(at / PAGE % 26), sizeof(page));
		assert_int_equal(write(fd, page, bytes), bytes);
	}
	file->addr =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file->addr, MAP_FAILED);
	file->size = size;
	close(fd);
}

void file_mapping_remove(const struct file_mapping *file)
{
	assert_int_equal(munmap(file->addr, file->size), 0);
	assert_int_equal(unlink(file->path), 0);
}

void file_mapping_check_outside(const struct file_mapping *file, size_t offset,
				const char *want, size_t length)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		char got[64];
		int fd;

		alarm(FILE_MAPPING_WAIT_SEC);
		fd = (int)syscall(SYS_openat, AT_FDCWD, file->path,
				  O_RDONLY | O_CLOEXEC);
		_exit(fd < 0 ||
		      syscall(SYS_pread64, fd, got, length, offset) !=
			      (long)length ||
		      memcmp(got, want, length));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Each has every THREADS-th word, and stores 1, 2, 3... in one after another.
 */
static struct storer {
	pthread_t thread;
	_Atomic uint64_t *words;
	uint64_t stores;
	uint64_t lost;
} storers[THREADS];
static atomic_bool is_over;

static void *store(void *arg)
{
	struct storer *storer = arg;

	while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
		uint64_t n = storer->stores;
		_Atomic uint64_t *word = &storer->words[n % WORDS * THREADS];
		uint64_t was = n < WORDS ? 0 : n - WORDS + 1;

		storer->lost += atomic_load(word) != was;
		atomic_store(word, n + 1);
		storer->stores = n + 1;
	}
	return NULL;
}

void file_mapping_start_stores(const struct file_mapping *file)
{
	memset(file->addr, 0, SIZE);
	atomic_store(&is_over, false);
	for (unsigned int i = 0; i < THREADS; i++) {
		storers[i] = (struct storer){
			.words = (_Atomic uint64_t *)file->addr + i,
		};
		assert_int_equal(pthread_create(&storers[i].thread, NULL, store,
						&storers[i]),
				 0);
	}
}

void file_mapping_stop_stores(const struct file_mapping *file)
{
	atomic_store(&is_over, true);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(storers[i].thread, NULL);
	for (unsigned int i = 0; i < THREADS; i++) {
		uint64_t last = storers[i].stores;

		assert_int_equal(storers[i].lost, 0);
		if (last)
			file_mapping_check_outside(
				file,
				((last - 1) % WORDS * THREADS + i) *
					sizeof(last),
				(char *)&last, sizeof(last));
	}
}
