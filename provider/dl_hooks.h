/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dlsym() and dlvsym() for programs that look functions up by themselves.
 */
#ifndef DAXMR_DL_HOOKS_H
#define DAXMR_DL_HOOKS_H

struct dl_hook {
	const char *name;
	const char *version; /* tells the library */
	void *hook;
};

/* Each ends with a NULL name. */
extern const struct dl_hook dl_hooks[];	     /* of libibverbs */
extern const struct dl_hook dl_hooks_pmem[]; /* of libpmem and libpmem2 */
extern const struct dl_hook dl_hooks_cm[];   /* of librdmacm */
extern const struct dl_hook dl_hooks_dv[];   /* of drivers' libraries */

#endif
