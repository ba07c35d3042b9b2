/* SPDX-License-Identifier: BSD-2-Clause */
#include "file_real.h"
#include "dl_real.h"

void *_Atomic file_originals[FILE_CALLS];

static const char *const names[FILE_CALLS] = {
#define DAXMR_FILE(name, what) #name,
#include "hooks.def"
};

/* Whoever comes at the same time finds the same. */
void *file_real_find(enum file_call call)
{
	void *real = dl_real_next(names[call]);

	atomic_store_explicit(&file_originals[call], real,
			      memory_order_relaxed);
	return real;
}

__attribute__((constructor)) static void look_early(void)
{
	for (unsigned int call = 0; call < FILE_CALLS; call++)
		file_real_find((enum file_call)call);
}
