/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of shadows share: lease.h. */
#ifndef DAXMR_TESTS_LEASE_STAGE_H
#define DAXMR_TESTS_LEASE_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "lease.h"
#include "lease_file.h"
#include "mapping.h"

/* For main(): 77 and a sentence where no userfaultfd is to be had, else 0. */
int stage_cannot_trap(void);

/* A lease of the range, and a shadow of it; gives both back. */
struct lease *stage_range(struct lease_engine *engine, int fd, int type,
			  uint64_t offset, uint64_t length);
void unstage_range(struct lease *lease, uint64_t offset, uint64_t length);

/* What lies at this address: the file itself, or something else? */
bool stage_is_file_at(const struct file *file, const void *at);

/* All mappings of a file, or of a shadow, with what smaps says of them. */
struct seen {
	struct mapping_state *states;
	size_t count;
};
struct seen seen_of(dev_t dev, ino_t ino);
void seen_free(struct seen *seen);
/* Lies the same there, with the same flags? */
void seen_check_same(struct seen *before, struct seen *after);
/* "sd" says that a mapping is new. */
void seen_forget_dirty(struct mapping_state *state);

/* Of the lease at arg. */
bool stage_is_held(void *arg);

/* A thread that does nothing: the program isn't alone. */
void idler_start(void);
void idler_stop(void);

#endif
