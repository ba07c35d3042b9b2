/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a staged region lies in: for each shared mapping of a file in its range
 * a part, with a count of the file's lease and a count of the shadows that are
 * in the file's place (lease.h). Ordinary memory between them has no part, nor
 * have private mappings of files: those become ordinary memory, for good. Once
 * all parts are there the range is memory that any device can pin.
 *
 *   region      |------------------------------|
 *   mappings  |----- file A -----| heap |-- file B --|
 *   parts       |      1         |      |  2   |
 */
#ifndef DAXMR_STAGE_H
#define DAXMR_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lease;
struct lease_terms;
struct stage;

/*
 * Two looks at memory with a registration between them: has a shadow come to
 * stand somewhere in this process meanwhile? Such an MR would be on a shadow
 * that nobody has counted. Costs no system call.
 */
struct stage_mark {
	unsigned int begun;
	bool is_quiet; /* nobody was at it */
};
struct stage_mark stage_mark_get(void);
bool stage_has_moved(const struct stage_mark *before);

/* What is wanted of all its files; NULL is what the environment says. */
struct stage_wish {
	const struct lease_terms *terms; /* NULL: as lease.h has it */
	uint64_t max;			 /* bytes in shadows of this process */
};

/*
 * Stages [addr, addr + length). 0; or -errno with a sentence (reason.h) and
 * everything is as before, but for private copies: those of lease_acquire(),
 * lease_stage(), lease_privatize(),
 * stage_limits_check() and vma_each(), -ENOMEM, -EAGAIN what is mapped there
 * changes all the time.
 */
int stage_take(const void *addr, size_t length, const struct stage_wish *wish,
	       struct stage **ret);

/* Its i-th file, NULL behind the last: the region's until it is given back. */
struct lease *stage_lease(const struct stage *stage, size_t i);

/*
 * Where all of the region is one piece of one file: its lease, and where in the
 * file it begins. NULL: it is not.
 */
struct lease *stage_piece(const struct stage *stage, uint64_t *ret_offset);

/*
 * lease_flush() of so much of it as lies in [addr, addr + length), and
 * lease_flush_soon() of all its files. 0, or the first error with its sentence,
 * and the rest is flushed all the same.
 */
int stage_flush(const struct stage *stage, const void *addr, size_t length);
int stage_flush_soon(const struct stage *stage, uint32_t ticket);

/*
 * What the device is to have in place of the address that was staged, where the
 * kernel has refused that for a device that only reads: the same memory mapped
 * once more, so that it can be written. Kernels before 6.2 pin a shared mapping
 * in no other way. The program's own mappings stay as they are. NULL, without a
 * sentence: all can be written already, or a part cannot be read, or is of no
 * file, or there is no memory. There until stage_give_back(), in this process
 * alone.
 */
void *stage_make_alias(struct stage *stage);

/* The one that there is; NULL: none, also for no stage. */
void *stage_alias(const struct stage *stage);

/*
 * After the MR is gone. What kept a file from being written or mapped back goes
 * to the log: daxmr tries it again by itself. NULL is none; in a forked child,
 * whose parent has the shadows, nothing is done. errno is kept.
 */
void stage_give_back(struct stage *stage);

#endif
