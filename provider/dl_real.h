/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The C library's dlsym() and dlvsym(), which the preload stands in front of.
 */
#ifndef DAXMR_DL_REAL_H
#define DAXMR_DL_REAL_H

/*
 * As the C library's, called from this object: RTLD_NEXT means "behind us".
 * NULL where the C library has none (it always has).
 */
typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

dlsym_fn *dl_real_dlsym_get(void);
dlvsym_fn *dl_real_dlvsym_get(void);

#define dl_real_dlvsym(handle, name, version)                                  \
	(dl_real_dlvsym_get()(handle, name, version))

#endif
