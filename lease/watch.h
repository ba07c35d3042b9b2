/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What inotify tells of leased files: that somebody closed one, that one was
 * changed under its lease. A watch is set by the descriptor (/proc/self/fd):
 * nothing is opened, which would break the lease.
 *
 * One watch per file for as long as it is leased; only its mask changes, so
 * the kernel's number for it stays. It is found by that number without a walk.
 *
 * Who waits for news does so at a pace: it is heard at once after a silence,
 * and then for WATCH_PACE_NS not waited for, so that a hundred openers in a
 * loop do not wake anybody a thousand times a second. It stays in the kernel's
 * queue meanwhile, where equal news is one, and watches_read() still finds it.
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
#define WATCH_PACE_NS 15000000LL

struct watch {
	int wd; /* -1: none */
	uint32_t mask;
	struct watch *next;
};

struct watches {
	int inotify;	   /* -1: none to be had */
	int error;	   /* why not */
	bool is_news_lost; /* the queue was full; set here, never cleared */
	int64_t heard_ns;  /* when news last woke who waits */
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

/* News woke the caller. */
void watches_heard(struct watches *watches, int64_t now_ns);

/* What to poll(2), or -1; for as long as *timeout_ms, which may be shortened.
 */
int watches_wait(const struct watches *watches, int64_t now_ns,
		 int *timeout_ms);

#endif
