/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scratch memory of the trust test, and the picture of what should be in it.
 *
 * A scratch is some pages that a device works on and an image of the same size
 * that no device knows of. Whoever fills the scratch fills the image; whoever
 * starts a transfer writes into the image what the transfer should do; in the
 * end both are compared whole, so that a byte outside of every target that
 * changed is seen as well.
 *
 * Two alphabets that share no letter: what is sent is 1..127, what lies around
 * the targets is 128..255, what nobody ever touched is 0. A byte that went
 * astray and one that never came cannot look right by chance. Each byte depends
 * on its position and on a seed, so neither can one of an earlier transfer or
 * of another page (but for one in 127).
 *
 * All of it by raw system calls: the memory hooks that a program may have
 * (those of communication libraries are replacements of mmap and madvise) are
 * not to see memory that isn't the program's.
 */
#ifndef DAXMR_ODP_TRUST_MEM_H
#define DAXMR_ODP_TRUST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Anonymous memory; NULL where there is none. Unmapping NULL does nothing. */
void *memory_map(size_t length);
void memory_unmap(void *memory, size_t length);

struct scratch {
	uint8_t *base; /* what the device sees; not inherited by a fork */
	uint8_t *image;
	size_t length;
};

enum scratch_letters {
	SCRATCH_PAYLOAD,
	SCRATCH_GUARD,
};

/*
 * All return 0 or -errno. A scratch that is all zeroes can be given to
 * scratch_unmap(); one that was just mapped has never been touched.
 */
int scratch_map(struct scratch *scratch, size_t length);
void scratch_unmap(struct scratch *scratch);

/* Other pages at the same place, untouched: by MADV_DONTNEED. */
int scratch_drop(struct scratch *scratch);
/* The same by another mapping over the first. */
int scratch_remap(struct scratch *scratch);
int scratch_protect(struct scratch *scratch, bool readonly);

void scratch_fill(struct scratch *scratch, enum scratch_letters letters,
		  uint32_t seed);
/* Nobody has touched the memory: the image says so, the memory is let alone. */
void scratch_expect_untouched(struct scratch *scratch);

/*
 * How many bytes in [offset, offset + length) are not as the image says, and
 * the first of them.
 */
size_t scratch_differs(const struct scratch *scratch, size_t offset,
		       size_t length, size_t *ret_first);

#endif
