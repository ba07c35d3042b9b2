/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "cm_real.h"
#include "dl_real.h"

const struct dl_library cm_library = {
	.soname = "librdmacm.so.1",
	.name = "librdmacm",
	.symbol = "rdma_create_id",
	.version = "RDMACM_1.0",
};

static const struct {
	const char *name;
	const char *version;
} calls[CM_CALLS] = {
#define DAXMR_CM(name, version, what) {#name, #version},
#include "hooks.def"
	{"rdma_disconnect", "RDMACM_1.0"},
};

/*
 * Another interposer behind us comes first. The handle is kept: what a hook
 * goes to must not be unloaded.
 */
static void *find(enum cm_call call)
{
	void *library = dl_library_open(&cm_library);
	void *real = NULL;

	if (library)
		real = dl_real_dlsym(RTLD_NEXT, calls[call].name);
	if (library && !real)
		real = dl_real_dlvsym(library, calls[call].name,
				      calls[call].version);
	if (library && !real)
		dlclose(library);
	return real;
}

void *cm_real(enum cm_call call)
{
	static void *_Atomic originals[CM_CALLS];
	void *real = atomic_load(&originals[call]);

	if (!real) {
		real = find(call);
		atomic_store(&originals[call], real);
	}
	if (!real)
		errno = ENOSYS;
	return real;
}
