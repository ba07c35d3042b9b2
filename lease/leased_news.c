/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes under the lease that nobody announced: leased.h has the rules.
 */
#include <stddef.h>

#include "clock.h"
#include "leased_parts.h"

#define MS	 1000000LL
#define REST_MIN (10 * MS)
#define REST_MAX (1000 * MS)
#define LATE	 (1000 * MS)
/* Of the time, at most one part in so many is spent on passes. */
#define REST_SHARE 200
/* A file that changes while it is looked at is looked at so often in a row. */
#define PASSES_MAX 3

#define ARMED (IN_MODIFY | IN_CLOSE)
#define IDLE  IN_CLOSE

static void watch(struct leased *leased, uint32_t mask)
{
	struct leased_shared *shared = leased->shared;
	int r = watch_set(&shared->watches, &leased->watch, leased->fd, mask);

	if (!r || shared->is_unwatched_told)
		return;
	shared->is_unwatched_told = true;
	leased->unwatched_error = r;
}

void leased_arm(struct leased *leased)
{
	leased->is_resting = false;
	leased->armed_ns = clock_now_ns();
	watch(leased, ARMED);
}

void leased_disarm(struct leased *leased)
{
	watch(leased, IDLE);
}

/* From now on until the pass is over, and then for a while. */
static void start_rest(struct leased *leased)
{
	int64_t quiet_ns = clock_now_ns() - leased->armed_ns;

	if (!leased->rest_ns || quiet_ns > 10 * leased->rest_ns)
		leased->rest_ns = REST_MIN;
	else if (leased->rest_ns < REST_MAX)
		leased->rest_ns *= 2;
	leased->is_resting = true;
	leased->rest_until_ns = RECALL_NEVER;
	leased_disarm(leased);
}

void leased_rest(struct leased *leased, int64_t at_ns, int64_t spent_ns)
{
	int64_t rest_ns = leased->rest_ns;

	if (!leased->is_resting)
		return;
	if (rest_ns < REST_SHARE * spent_ns)
		rest_ns = REST_SHARE * spent_ns;
	leased->rest_until_ns = at_ns + rest_ns;
}

/* act_tell() adds the number. */
void leased_tell_news(struct leased *leased)
{
	if (leased->unwatched_error)
		recall_news(&leased->recall, RECALL_UNWATCHED,
			    leased->unwatched_error);
	leased->unwatched_error = 0;
	if (leased->extents.cut_off)
		recall_news(&leased->recall, RECALL_SHRUNK, 0);
	if (leased->extents.held)
		recall_news(&leased->recall, RECALL_GROWN, 0);
	if (leased->extents.dropped)
		recall_news(&leased->recall, RECALL_DROPPED, 0);
}

/* What is due when one is over, in HELD. */
static int64_t end_rests(struct leased *leased)
{
	int64_t at_ns = clock_now_ns(), due_ns = RECALL_NEVER;

	if (leased->settle_ns)
		due_ns = leased->settle_ns;
	if (leased->is_resting && leased->rest_until_ns < due_ns)
		due_ns = leased->rest_until_ns;
	if (at_ns < due_ns)
		return due_ns;
	if (leased->is_resting && at_ns >= leased->rest_until_ns)
		leased_arm(leased);
	leased->settle_ns = 0;
	recall_settle(&leased->recall);
	return at_ns;
}

/*
 * A pass is not broken off. Between two of them there is room for what others
 * have done, or who asks all the time would never have it; not where the next
 * one waits after an error, which has to come first.
 */
static bool is_flushing(const struct recall *recall)
{
	return recall->must_persist || recall->is_writing_back ||
	       (recall->must_flush &&
		(recall->is_pass_begun || recall->last_error));
}

int64_t leased_run_news(struct leased *leased)
{
	leased_tell_news(leased);
	if (leased->recall.state != RECALL_HELD)
		return RECALL_NEVER;
	if (leased->has_met_others && !is_flushing(&leased->recall)) {
		leased->has_met_others = false;
		start_rest(leased);
		recall_changed(&leased->recall);
		return clock_now_ns();
	}
	if (leased->has_news && !leased->recall.must_settle &&
	    !is_flushing(&leased->recall)) {
		leased->has_news = false;
		recall_settle(&leased->recall);
		return clock_now_ns();
	}
	return end_rests(leased);
}

void leased_has_allocated(struct leased *leased)
{
	if (leased->recall.state != RECALL_HELD || leased->watch.wd < 0)
		recall_settle(&leased->recall);
	else if (leased->has_own_news && !leased->settle_ns)
		leased->settle_ns = clock_now_ns() + LATE;
	if (!leased->at[KEEPER_OWN_ALLOCATE])
		leased->has_own_news = false;
}

bool leased_passes_again(struct leased *leased)
{
	bool again;

	watches_read(&leased->shared->watches, leased_watch_told);
	again = leased->has_news && leased->passes < PASSES_MAX;
	/* It changes all the time: what this pass has missed a later one has.
	 */
	if (leased->has_news && !again)
		leased->settle_ns = clock_now_ns() + LATE;
	leased->passes = again ? leased->passes + 1 : 0;
	leased->has_news = false;
	return again;
}

static void changed(struct leased *leased)
{
	switch (leased->recall.state) {
	case RECALL_HELD:
		leased->has_own_news |= leased->at[KEEPER_OWN_ALLOCATE];
		if (leased->at[KEEPER_OWN_WRITE] ||
		    leased->at[KEEPER_OWN_CHANGE] ||
		    leased->at[KEEPER_OWN_ALLOCATE])
			break;
		if (leased->recall.must_settle || leased->recall.must_flush ||
		    leased->recall.must_persist ||
		    leased->recall.is_writing_back) {
			leased->has_news = true;
			break;
		}
		start_rest(leased);
		recall_changed(&leased->recall);
		due_set(&leased->shared->due, &leased->due, clock_now_ns());
		break;
	case RECALL_MERGING:
	case RECALL_BREAKING:
		leased->has_news = true;
		break;
	default:
		/* Whoever has it now may write; only his leaving is news. */
		leased_disarm(leased);
	}
}

static void opener_gone(struct leased *leased)
{
	if (leased->recall.state != RECALL_YIELDED &&
	    leased->recall.state != RECALL_LOST)
		return;
	recall_opener_gone(&leased->recall);
	due_set(&leased->shared->due, &leased->due, clock_now_ns());
}

void leased_watch_told(struct watch *of, uint32_t mask)
{
	struct leased *leased =
		(void *)((char *)of - offsetof(struct leased, watch));

	if (mask & IN_CLOSE_WRITE)
		leased->is_lent_to_readers = false;
	if (mask & IN_CLOSE)
		opener_gone(leased);
	if (mask & IN_MODIFY)
		changed(leased);
}

void leased_news_lost(struct leased *leased)
{
	opener_gone(leased);
	recall_settle(&leased->recall);
	if (leased->recall.must_settle)
		due_set(&leased->shared->due, &leased->due, clock_now_ns());
}
