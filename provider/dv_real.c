/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "dl_real.h"
#include "dv_real.h"

/*
 * libibverbs loads its drivers under other names (libmlx5-rdmav34.so), which
 * are these, or copies that packages carry.
 */
static const struct {
	const char *versions;
	struct dl_library library;
} libraries[] = {
	{"MLX5_", {"libmlx5.so.1", "libmlx5", "mlx5dv_init_obj", "MLX5_1.0"}},
	{"MLX4_", {"libmlx4.so.1", "libmlx4", "mlx4dv_init_obj", "MLX4_1.0"}},
	{"MANA_", {"libmana.so.1", "libmana", "manadv_init_obj", "MANA_1.0"}},
};

static const struct {
	const char *name;
	const char *version;
} calls[DV_CALLS] = {
#define DAXMR_DV(name, version, what) {#name, #version},
#define DAXMR_DV_OLD(name, version)   {#name, #version},
#include "hooks.def"
};

const struct dl_library *dv_library_of(const char *version)
{
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (dl_starts_with(version, libraries[i].versions))
			return &libraries[i].library;
	return NULL;
}

/* The handle is kept: what a hook goes to must not be unloaded. */
static void *find(enum dv_call call)
{
	const char *name = calls[call].name, *version = calls[call].version;
	void *library = dl_library_open(dv_library_of(version)), *real = NULL;

	/* another interposer behind us comes first, one of this version */
	if (library)
		real = dl_real_dlvsym(RTLD_NEXT, name, version);
	if (library && !real)
		real = dl_real_dlvsym(library, name, version);
	if (library && !real)
		dlclose(library);
	return real;
}

void *dv_real(enum dv_call call)
{
	static void *_Atomic originals[DV_CALLS];
	void *real = atomic_load(&originals[call]);

	if (!real) {
		real = find(call);
		atomic_store(&originals[call], real);
	}
	if (!real)
		errno = ENOSYS;
	return real;
}
