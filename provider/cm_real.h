/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The originals behind our hooks on librdmacm, which we do not link: it comes
 * with the program, and is found as real.h has it. A program that has none and
 * refers to a call weakly finds our hook, which then says ENOSYS.
 */
#ifndef DAXMR_CM_REAL_H
#define DAXMR_CM_REAL_H

#include "dl_library.h"

enum cm_call {
#define DAXMR_CM(name, version, what) CM_##name,
#include "hooks.def"
	CM_rdma_disconnect, /* not hooked, called */
	CM_CALLS
};

extern const struct dl_library cm_library;

/* NULL and errno ENOSYS: there is none. */
void *cm_real(enum cm_call call);

#endif
