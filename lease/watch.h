/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What inotify tells of leased files: that somebody closed one, that one was
 * changed under its lease. A watch is set by the descriptor (/proc/self/fd):
 * nothing is opened, which would break the lease.
 *
 * One watch per file for as long as it is leased; only its mask changes, so
 * the kernel's number for it stays. It is found by that number without a walk.
 *
 * Not told: stores through a mapping (a forked child's too) and, by kernels as
 * they are, writes by io_submit(2).
 */
#ifndef DAXMR_LEASE_WATCH_H
#define DAXMR_LEASE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/inotify.h>

#define WATCH_BUCKETS 4096U

struct watch {
	int wd; /* -1: none */
	uint32_t mask;
	struct watch *next;
};

struct watches {
	int inotify;	   /* -1: none to be had */
	int error;	   /* why not */
	bool is_news_lost; /* the queue was full; set here, never cleared */
	struct watch *by_wd[WATCH_BUCKETS];
};

typedef void watch_fn(struct watch *watch, uint32_t mask);

void watches_init(struct watches *watches);

/* As inotify_add_watch(2): 0, or -errno and what was set before is. */
int watch_set(struct watches *watches, struct watch *watch, int fd,
	      uint32_t mask);
void watch_remove(struct watches *watches, struct watch *watch);

/* All that has come so far. */
void watches_read(struct watches *watches, watch_fn *fn);

#endif
