/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The C library's dlsym() and dlvsym(), which the preload stands in front of.
 */
#ifndef DAXMR_DL_REAL_H
#define DAXMR_DL_REAL_H

#include <stdbool.h>

/*
 * As the C library's, called from this object: RTLD_NEXT means "behind us".
 * NULL where the C library has none (it always has).
 */
typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

dlsym_fn *dl_real_dlsym_get(void);
dlvsym_fn *dl_real_dlvsym_get(void);

/*
 * What a call of ours would reach if we were not there: the function of the
 * first library behind us, in its default version. As dlsym(RTLD_NEXT) in a
 * process whose libraries are those it was started with, but without a lock,
 * memory or the state of dlerror(). NULL: there is none.
 */
void *dl_real_next(const char *name);

/*
 * String comparison for what runs before the C library's own may: a sanitizer
 * calls dlsym() to find strcmp().
 */
static inline bool dl_starts_with(const char *text, const char *start)
{
	for (; *start; text++, start++)
		if (*text != *start)
			return false;
	return true;
}

static inline bool dl_is_same(const char *a, const char *b)
{
	for (; *a == *b; a++, b++)
		if (!*a)
			return true;
	return false;
}

#define dl_real_dlsym(handle, name) (dl_real_dlsym_get()(handle, name))
#define dl_real_dlvsym(handle, name, version)                                  \
	(dl_real_dlvsym_get()(handle, name, version))

#endif
