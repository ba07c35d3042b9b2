/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The originals behind our hooks on drivers' libraries (direct verbs), as
 * cm_real.h has them for librdmacm. Each version of a call is one of its own.
 */
#ifndef DAXMR_DV_REAL_H
#define DAXMR_DV_REAL_H

#include "dl_library.h"

enum dv_call {
#define DAXMR_DV(name, version, what) DV_##name,
#define DAXMR_DV_OLD(name, version)   DV_OLD_##name,
#include "hooks.def"
	DV_CALLS
};

/* The driver's library with such version nodes; NULL: it is none. */
const struct dl_library *dv_library_of(const char *version);

/* NULL and errno ENOSYS: there is none. */
void *dv_real(enum dv_call call);

#endif
