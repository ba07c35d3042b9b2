/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is counted of this process, for others to see: stats_page.h. There is
 * nothing of it before the first region on a file, or the first refusal. Where
 * such memory cannot be had (seccomp, limits) there is none, and nobody is
 * told.
 *
 * Any thread, errno is kept, nothing waits. None of it is on the way of data.
 */
#ifndef DAXMR_STATS_H
#define DAXMR_STATS_H

#include <stdint.h>

#include "stats_page.h"

struct lease;

/* Its number, for stats_region_remove(); 0: it is not listed. */
uint64_t stats_region_add(const struct stats_region *region);
/* It has other access flags now. */
void stats_region_access(uint64_t number, uint32_t access);
/* So many QPs and windows were severed with it, its rkey changed so often. */
void stats_region_pinned(uint64_t number, uint64_t severed,
			 uint64_t keys_changed);
/* 0, and what a parent process has listed, are nothing. */
void stats_region_remove(uint64_t number);

/* A registration that failed with this (positive) errno; enum refusal. */
void stats_refused(int error, unsigned int refusal, const char *why);

/* By the device's name; those beyond STATS_DEVICES are not counted. */
void stats_device_count(const char *device, unsigned int what, uint64_t by);

/*
 * The slot of a leased file, from take to give back its taker's alone. NULL:
 * there is none to be had.
 */
struct stats_file_slot *stats_file_take(void);
void stats_file_give_back(struct stats_file_slot *slot);

/* stats_lease.c: what the engine's observer says, by its thread. */
void stats_lease_changed(struct lease *lease,
			 const struct recall_report *report, uint64_t missed);
void stats_lease_looked(struct lease *lease);
void stats_lease_gone(struct lease *lease);

#endif
