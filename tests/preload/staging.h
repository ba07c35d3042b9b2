/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of registrations that the device refuses have in common: the
 * device (standin.h), which refuses mappings of files (EFAULT) as the kernel
 * refuses to pin them, and what has become of a mapping.
 */
#ifndef DAXMR_TESTS_STAGING_H
#define DAXMR_TESTS_STAGING_H

#include "file_mapping.h"
#include "standin.h"

#define PAGE  FILE_MAPPING_PAGE
#define PAGES (SIZE / PAGE)
#define SIZE  FILE_MAPPING_SIZE
#define TAKEN 0x5a5a /* an errno that nobody sets */

#define RW                                                                     \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |                    \
	 IBV_ACCESS_REMOTE_READ)
#define FLUSH_GLOBAL	 (1 << 8)
#define FLUSH_PERSISTENT (1 << 9)

extern struct standin_control *device;
extern struct ibv_pd *pd;

/* For main(). */
void staging_init(void);
/* 77 and a sentence where files cannot be leased or threads not held up. */
int staging_cannot(void);

/* For cmocka: the device refuses files, errno is TAKEN. */
int staging_reset(void **state);
/* The same, and a file. */
extern struct file_mapping staged_file;
int staging_set_up(void **state);
int staging_tear_down(void **state);

struct ibv_mr *register_range(void *addr, size_t length);

void check_is_file(const struct file_mapping *file);
/* Others that had the file may keep the shadow there for a while. */
void wait_until_file(const struct file_mapping *file);

#endif
