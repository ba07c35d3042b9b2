/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libdaxmr.so does for libdaxmr-preload.so. The preload holds the hooks
 * alone; the regions live in the library, so that a daemon that links it and
 * runs under the preload as well has them once.
 */
#ifndef DAXMR_ENGINE_H
#define DAXMR_ENGINE_H

#include "region.h"

struct engine {
	struct ibv_mr *(*reg)(const struct region_call *call);
	int (*rereg)(const struct real_verbs *real, struct ibv_mr *mr,
		     int flags, struct ibv_pd *pd, void *addr, size_t length,
		     int access);
	int (*dereg)(const struct real_verbs *real, struct ibv_mr *mr);
};

/*
 * NULL where the two are not of one build (version is the preload's own
 * DAXMR_ENGINE_VERSION): the hooks then pass everything on. Not for programs.
 */
#define DAXMR_ENGINE_VERSION 1
__attribute__((visibility("default"))) const struct engine *
daxmr_private_engine(unsigned int version);

#endif
