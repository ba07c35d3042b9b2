/* SPDX-License-Identifier: BSD-2-Clause */
/* The stories of daxmr.h's events: with the stand-in, and in the rig. */
#ifndef DAXMR_TESTS_API_STORIES_H
#define DAXMR_TESTS_API_STORIES_H

#include "unit.h"

struct ibv_pd;

#define API_STORIES 15
extern const struct CMUnitTest api_stories[API_STORIES];

/* For which device. */
void api_stories_for(struct ibv_pd *pd);

/* Those of pinned regions, where files can be pinned. */
#define API_PINNED_STORIES 5
extern const struct CMUnitTest api_pinned_stories[API_PINNED_STORIES];
void api_pinned_stories_for(struct ibv_pd *pd);

#endif
