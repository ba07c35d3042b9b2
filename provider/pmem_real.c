/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>

#include "dl_real.h"
#include "pmem_real.h"

const struct dl_library pmem_library = {
	.soname = "libpmem.so.1",
	.name = "libpmem",
	.symbol = "pmem_persist",
	.version = "LIBPMEM_1.0",
};

const struct dl_library pmem2_library = {
	.soname = "libpmem2.so.1",
	.name = "libpmem2",
	.symbol = "pmem2_map_new",
	.version = "LIBPMEM2_1.0",
};

void *_Atomic pmem_originals[PMEM_CALLS];

static const struct {
	const char *name;
	const char *version;
} calls[PMEM_CALLS] = {
#define DAXMR_PMEM(name, version, what) {#name, #version},
#include "hooks.def"
};

/*
 * Another interposer behind us comes first. The handle is kept: what a hook
 * goes to must not be unloaded.
 */
void *pmem_real_find(enum pmem_call call)
{
	const char *name = calls[call].name, *version = calls[call].version;
	void *library = dl_library_open(dl_starts_with(version, "LIBPMEM2_")
						? &pmem2_library
						: &pmem_library);
	void *real;

	if (!library)
		return pmem_alone(call);
	real = dl_real_dlsym(RTLD_NEXT, name);
	if (!real)
		real = dl_real_dlvsym(library, name, version);
	if (!real) {
		dlclose(library);
		return pmem_alone(call);
	}
	atomic_store_explicit(&pmem_originals[call], real,
			      memory_order_relaxed);
	return real;
}

__attribute__((constructor)) static void look_early(void)
{
	for (unsigned int call = 0; call < PMEM_CALLS; call++)
		atomic_store_explicit(&pmem_originals[call],
				      dl_real_next(calls[call].name),
				      memory_order_relaxed);
}
