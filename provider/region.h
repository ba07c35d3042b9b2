/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registration, change and deregistration of regions: looks at the memory,
 * chooses the route, walks it.
 *
 * Each keeps the contract of the verb that the program called, errno and return
 * value included; errno is untouched on success. What daxmr refuses, and what
 * the kernel refused although daxmr tried, has a sentence
 * (log_last_sentence()).
 */
#ifndef DAXMR_REGION_H
#define DAXMR_REGION_H

#include "real.h"
#include "route.h"

struct lease_terms;

/* What is wanted of a region. */
struct region_options {
	enum strategy strategy;
	bool is_asked;			 /* that one, of all regions */
	uint64_t prefetch;		 /* odp: bytes */
	uint64_t stage_max;		 /* staged: stage.h */
	enum on_recall on_recall;	 /* pinned */
	enum keys keys;			 /* the same */
	uint32_t quiesce_ms;		 /* the same */
	const struct lease_terms *terms; /* staged: NULL as lease.h has it */
};

struct region_call {
	const struct real_verbs *real;
	struct ibv_pd *pd;
	void *addr;
	size_t length;
	uint64_t iova;
	unsigned int access;
	/* The very call the program made, with these access flags. */
	struct ibv_mr *(*original)(const struct region_call *call,
				   unsigned int access);
	const void *attr; /* ibv_reg_mr_ex's, for original() */
	const struct region_options *options; /* NULL: the environment's */
};

struct ibv_mr *region_register(const struct region_call *call);

int region_deregister(const struct real_verbs *real, struct ibv_mr *mr);

int region_reregister(const struct real_verbs *real, struct ibv_mr *mr,
		      int flags, struct ibv_pd *pd, void *addr, size_t length,
		      int access);

#endif
