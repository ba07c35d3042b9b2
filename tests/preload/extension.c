/* SPDX-License-Identifier: BSD-2-Clause */
/* What a Python extension is: linked against libibverbs, loaded RTLD_LOCAL. */
#include <dlfcn.h>

#include <infiniband/verbs.h>

#define EXPORT __attribute__((visibility("default")))

#undef ibv_reg_mr

EXPORT struct ibv_mr *extension_register(struct ibv_pd *pd, void *addr,
					 size_t length, int access);
EXPORT void *extension_look(const char *name);

struct ibv_mr *extension_register(struct ibv_pd *pd, void *addr, size_t length,
				  int access)
{
	struct ibv_mr *volatile mr = ibv_reg_mr(pd, addr, length, access);

	return mr;
}

void *extension_look(const char *name)
{
	void *volatile found = dlsym(RTLD_DEFAULT, name);

	return found;
}
