/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions of daxmr.h: an MR that region.h has made, and who hears of the leases
 * that it lies in (lease_news.h).
 */
#ifndef DAXMR_API_REGION_H
#define DAXMR_API_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "api_flushes.h"
#include "daxmr.h"
#include "event.h"
#include "lease_news.h"
#include "pinned.h"
#include "region.h"
#include "window/window.h"

/* The counts of struct daxmr_stats, in its order. */
enum api_count {
	API_RECALLS,
	API_YIELDED,
	API_RETAKEN,
	API_MERGED,
	API_LOST,
	API_THEIRS,
	API_CONFLICTS,
	API_CUT_OFF,
	API_GROWN,
	API_DROPPED,
	API_FLUSH_ERRORS,
	API_CONSENTS_LATE,
	API_YIELDED_NS,
	API_COUNTS
};

/* One of the files that a region lies in. */
struct api_ear {
	struct lease_listener listener;
	struct pinned_ear of_pinned;
	struct pinned *pinned; /* NULL: the file is staged */
	struct window_ear of_window;
	struct window *window; /* NULL: it has none */
	struct daxmr_region *region;
	/* All of them, while one is told something. */
	struct api_ear *first;
	size_t siblings;
	uint32_t flushed; /* the engine's: that of the last report */
	/* The count of the last time it was asked (event.h); 0: answered. */
	_Atomic uint64_t asked;
};

struct api_ears {
	size_t count;
	struct api_ear *ear;
};

/* An MR of a region, and where it lies. */
struct api_mr {
	struct ibv_mr *mr;
	enum strategy strategy;
	struct stage *stage;   /* what it lies in; NULL: nothing */
	struct window *window; /* that its rkey is of; or NULL */
	struct pinned *pinned; /* or what it is of */
};

struct daxmr_region {
	pid_t pid;
	const struct real_verbs *real;
	struct api_mr mr;
	size_t length;
	struct region_call call;
	struct region_options options;
	struct lease_terms terms;
	bool is_asked; /* on_recall ask */
	int64_t consent_ns;
	char name[DAXMR_NAME_MAX + 1];
	struct event_source source;
	struct api_ears ears;
	struct api_ears new_ears; /* while it moves */
	struct api_flushes flushes;
	_Atomic uint64_t counts[API_COUNTS];
};

/* For messages: never empty. */
static inline const char *api_name(const struct daxmr_region *region)
{
	return *region->name ? region->name : "without a name";
}

/* api_options.c: 0, or -EINVAL with a sentence. given: NULL, or as it came. */
int api_options_read(const struct daxmr_options *given,
		     struct daxmr_region *region,
		     struct daxmr_channel **ret_channel, void **ret_data);

/*
 * api_news.c: hears of all files that an MR lies in. 0, or -errno with a
 * sentence.
 */
int api_ears_open(struct daxmr_region *region, struct api_ears *ears,
		  const struct api_mr *mr);
void api_ears_close(struct daxmr_region *region, struct api_ears *ears);
void api_ears_move(struct daxmr_region *region, struct api_ears *from,
		   struct api_ears *to);
/* So many calls of DAXMR_FLUSH_NOWAIT are answered: error, or 0. */
void api_flushed(struct daxmr_region *region, uint64_t calls, int error);
/* Calls that had no answer from where the region was before are made anew. */
void api_flush_again(struct daxmr_region *region, uint64_t calls);
/* As event_source.agreed. */
void api_agreed(struct event_source *source, uint64_t asked);

/*
 * An MR of [addr, addr + length) as the region wants it: 0, -errno with a
 * sentence.
 */
int api_register(const struct daxmr_region *region, size_t length,
		 struct api_mr *ret);

/*
 * Its MR could not be deregistered: it is as it was, but for its window, and a
 * file that has gone meanwhile is told of again.
 */
void api_stay(struct daxmr_region *region);

/*
 * Around what a program is not to notice: errno is kept, and the calling thread
 * cannot be cancelled.
 */
struct api_call {
	int saved_errno;
	int cancel_state;
};
void api_enter(struct api_call *call);
void api_leave(const struct api_call *call);

#endif
