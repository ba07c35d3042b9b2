/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another interposer, of the usual kind: counts registrations and calls the
 * next by dlsym(RTLD_NEXT). Prints its count at the end on stderr.
 */
#include <dlfcn.h>
#include <stdio.h>

#include <infiniband/verbs.h>

#undef ibv_reg_mr
#define EXPORT __attribute__((visibility("default")))

static unsigned int count;

EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
				 int access)
{
	struct ibv_mr *(*next)(struct ibv_pd *, void *, size_t, int);

	*(void **)&next = dlsym(RTLD_NEXT, "ibv_reg_mr");
	count++;
	return next(pd, addr, length, access);
}

__attribute__((destructor)) static void tell(void)
{
	if (count)
		fprintf(stderr, "interposer: %u registrations\n", count);
}
