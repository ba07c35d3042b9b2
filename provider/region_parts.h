/* SPDX-License-Identifier: BSD-2-Clause */
/* What registration and change of a region have in common. */
#ifndef DAXMR_REGION_PARTS_H
#define DAXMR_REGION_PARTS_H

#include "choice.h"
#include "region.h"
#include "stage.h"

/* The device may change what it is given: the kernel's ib_access_writable(). */
#define REGION_WRITABLE                                                        \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |                    \
	 IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND)

/*
 * Around a verb that gives up what an MR lies in: libibverbs goes by mr->addr
 * for what it has told the kernel of forks, and that is the alias's (stage.h).
 */
static inline void region_show_alias(struct ibv_mr *mr,
				     const struct stage *stage)
{
	void *alias = stage_alias(stage);

	if (alias)
		mr->addr = alias;
}

/* Shadows for the files in the range; NULL and errno, with the sentence. */
struct stage *region_stage(const struct choice *choice,
			   const struct ibv_context *context, const void *addr,
			   size_t length, const struct region_options *options);

/* Where it is none any more; NULL is nothing. */
void region_unstage(struct stage *stage);

/* What is to be said of a region. */
struct region_listed {
	const char *device;
	const void *addr;
	size_t length;
	unsigned int access; /* the program's own */
	enum strategy strategy;
	const struct memory_file *file; /* as it was seen */
	struct lease *lease;		/* of its first file; NULL: none */
	uint32_t more_files;
};

/* Its number; 0: it is not listed (stats.h). */
uint64_t region_list(const struct region_listed *what);
/* Leases beside the first. */
uint32_t region_more_files(const struct stage *stage);

#endif
