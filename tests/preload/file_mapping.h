/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mapped file for programs under the preload, in the current folder or in
 * DAXMR_TEST_DAX_DIR: what lies there, what others see, threads that store.
 */
#ifndef DAXMR_TESTS_FILE_MAPPING_H
#define DAXMR_TESTS_FILE_MAPPING_H

#include <stddef.h>

#define FILE_MAPPING_PAGE     4096UL
#define FILE_MAPPING_SIZE     (64 * FILE_MAPPING_PAGE)
#define FILE_MAPPING_WAIT_SEC 60

struct file_mapping {
	char path[256];
	char *addr;
	size_t size;
};

const char *file_mapping_folder(void);

/*
 * Each page full of a letter, 'a' and so on; no descriptor is left, as most
 * programs have it.
 */
void file_mapping_make(struct file_mapping *file, size_t size);
/* All of it, whatever is mapped there now. */
void file_mapping_remove(const struct file_mapping *file);

/* What another process sees that opens it now, in less than 20 s. */
void file_mapping_check_outside(const struct file_mapping *file, size_t offset,
				const char *want, size_t length);

/* Threads that store all over it, each word again and again: none is lost. */
void file_mapping_start_stores(const struct file_mapping *file);
void file_mapping_stop_stores(const struct file_mapping *file);

#endif
