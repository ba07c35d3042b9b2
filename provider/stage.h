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

/*
 * Stages [addr, addr + length). 0; or -errno with a sentence (reason.h) and
 * everything is as before, but for private copies: those of lease_acquire(),
 * lease_stage(), lease_privatize(),
 * stage_limits_check() and vma_each(), -ENOMEM, -EAGAIN what is mapped there
 * changes all the time.
 */
int stage_take(const void *addr, size_t length, struct stage **ret);

/*
 * After the MR is gone. What kept a file from being written or mapped back goes
 * to the log: daxmr tries it again by itself. NULL is none; in a forked child,
 * whose parent has the shadows, nothing is done. errno is kept.
 */
void stage_give_back(struct stage *stage);

#endif
