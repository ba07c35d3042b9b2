/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is reported of a lease, as events and counts of the regions in its file.
 * All of it runs on the engine's thread, but when a region is opened or closed.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "api_region.h"
#include "clock.h"
#include "leases.h"
#include "reason.h"
#include "stage.h"

static void add(struct api_ear *ear, enum api_count count, uint64_t n)
{
	atomic_fetch_add(&ear->region->counts[count], n);
}

static void post(struct api_ear *ear, enum daxmr_event_kind kind,
		 const struct event_fact *fact)
{
	event_post(&ear->region->source, kind, fact);
}

static void post_blocks(struct api_ear *ear, enum daxmr_event_kind kind,
			const struct event_fact *fact, enum api_count count,
			uint32_t blocks)
{
	struct event_fact with = *fact;

	with.blocks = blocks;
	add(ear, count, blocks);
	post(ear, kind, &with);
}

/* Where the program is asked that is the event. */
static void recalled(struct api_ear *ear, struct event_fact *fact)
{
	add(ear, API_RECALLS, 1);
	fact->who = DAXMR_WHO_OTHERS;
	if (!ear->region->is_asked)
		post(ear, DAXMR_EVENT_RECALL, fact);
}

static void opens_itself(struct api_ear *ear, struct event_fact *fact)
{
	fact->who = DAXMR_WHO_SELF;
	post(ear, DAXMR_EVENT_RECALL, fact);
}

static void failed(struct api_ear *ear, const struct event_fact *fact)
{
	add(ear, API_FLUSH_ERRORS, 1);
	post(ear, DAXMR_EVENT_FLUSH_ERROR, fact);
}

void api_flushed(struct daxmr_region *region, uint64_t calls, int error)
{
	const struct event_fact fact = {
		.at_ns = clock_now_ns(),
		.error = error,
		.more = calls - 1,
	};

	if (calls)
		event_post(&region->source,
			   error ? DAXMR_EVENT_FLUSH_ERROR
				 : DAXMR_EVENT_FLUSHED,
			   &fact);
}

/* The region's flush is done when that of each of its files is. */
static void written(struct api_ear *ear, const struct recall_report *report)
{
	uint32_t ticket;

	if (!report->flushed)
		return;
	ear->flushed = ticket = report->flushed;
	for (size_t i = 0; i < ear->siblings; i++) {
		uint32_t its = ear->first[i].flushed;

		if (!its)
			return;
		if (recall_asked_after(ticket, its))
			ticket = its;
	}
	api_flushed(ear->region,
		    api_flushes_answered(&ear->region->flushes, ticket), 0);
}

static void yielded(struct api_ear *ear, const struct recall_report *report,
		    const struct event_fact *fact)
{
	/* Of a pinned one its MR says so, which may have gone before. */
	if (atomic_exchange(&ear->asked, 0) && !ear->pinned)
		add(ear, API_CONSENTS_LATE, 1);
	add(ear, API_YIELDED, 1);
	if (fact->error)
		failed(ear, fact);
	else
		written(ear, report);
	post(ear, DAXMR_EVENT_YIELDED, fact);
}

static void merged(struct api_ear *ear, const struct recall_report *report,
		   const struct event_fact *fact)
{
	add(ear, API_MERGED, 1);
	if (report->conflicts)
		post_blocks(ear, DAXMR_EVENT_CONFLICT, fact, API_CONFLICTS,
			    report->conflicts);
	post_blocks(ear, DAXMR_EVENT_MERGED, fact, API_THEIRS, report->theirs);
}

static void count_and_post(struct api_ear *ear, enum api_count count,
			   enum daxmr_event_kind kind,
			   const struct event_fact *fact)
{
	add(ear, count, 1);
	post(ear, kind, fact);
}

/* A pinned region is not back before its MR is: tell_pinned(). */
static bool is_of_pinned(const struct api_ear *ear, enum recall_cause cause)
{
	return ear->pinned &&
	       (cause == RECALL_RETAKEN || cause == RECALL_MERGED);
}

static void changed(struct lease_listener *listener,
		    const struct recall_report *report, uint64_t missed)
{
	struct api_ear *ear = (struct api_ear *)listener;
	struct event_fact fact = {.at_ns = report->at_ns,
				  .error = report->error};

	(void)missed;
	if ((report->from == RECALL_YIELDED || report->from == RECALL_LOST) &&
	    report->to != report->from)
		add(ear, API_YIELDED_NS, (uint64_t)report->spent_ns);
	if (is_of_pinned(ear, report->cause))
		return;
	switch (report->cause) {
	case RECALL_BREAK_HEARD:
		recalled(ear, &fact);
		break;
	case RECALL_OWN_OPEN:
		opens_itself(ear, &fact);
		break;
	case RECALL_CHANGED:
		post(ear, DAXMR_EVENT_CHANGED, &fact);
		break;
	case RECALL_FLUSHED:
	case RECALL_OUT_OF_TIME:
		yielded(ear, report, &fact);
		break;
	case RECALL_WRITTEN:
		written(ear, report);
		break;
	case RECALL_REVOKED:
		count_and_post(ear, API_LOST, DAXMR_EVENT_LOST, &fact);
		break;
	case RECALL_RETAKEN:
		count_and_post(ear, API_RETAKEN, DAXMR_EVENT_RETAKEN, &fact);
		break;
	case RECALL_MERGED:
		merged(ear, report, &fact);
		break;
	case RECALL_FLUSH_FAILED:
	case RECALL_MERGE_FAILED:
	case RECALL_TAKE_FAILED:
		failed(ear, &fact);
		break;
	case RECALL_UNATTACHED:
	case RECALL_RANGE_UNATTACHED:
		if (fact.error)
			failed(ear, &fact);
		break;
	case RECALL_SHRUNK:
		post_blocks(ear, DAXMR_EVENT_SHRUNK, &fact, API_CUT_OFF,
			    report->beyond);
		break;
	case RECALL_GROWN:
		post_blocks(ear, DAXMR_EVENT_GROWN, &fact, API_GROWN,
			    report->beyond);
		break;
	case RECALL_DROPPED:
		post_blocks(ear, DAXMR_EVENT_BEYOND_EOF, &fact, API_DROPPED,
			    report->beyond);
		break;
	case RECALL_GRANTED:
	case RECALL_RELEASE_ASKED:
	case RECALL_RELEASED:
	case RECALL_UNWATCHED: /* the log has it */
	case RECALL_CAUSES:
		break;
	}
}

static void tell_pinned(struct pinned_ear *of_pinned, enum pinned_news news,
			uint64_t blocks, int error)
{
	struct api_ear *ear =
		(struct api_ear *)((char *)of_pinned -
				   offsetof(struct api_ear, of_pinned));
	struct event_fact fact = {.at_ns = clock_now_ns(), .error = error};

	switch (news) {
	case PINNED_BACK:
		count_and_post(ear, API_RETAKEN, DAXMR_EVENT_RETAKEN, &fact);
		break;
	case PINNED_SHRUNK:
		post_blocks(ear, DAXMR_EVENT_SHRUNK, &fact, API_CUT_OFF,
			    (uint32_t)blocks);
		break;
	case PINNED_GROWN:
		post_blocks(ear, DAXMR_EVENT_GROWN, &fact, API_GROWN,
			    (uint32_t)blocks);
		break;
	case PINNED_SEVERED:
		/* else it is a device that does not answer */
		if (error == -ETIMEDOUT && ear->region->is_asked)
			add(ear, API_CONSENTS_LATE, 1);
		post(ear, DAXMR_EVENT_SEVERED, &fact);
		break;
	}
}

static void ask_pinned(struct pinned_ear *of_pinned, int64_t deadline_ns)
{
	struct api_ear *ear =
		(struct api_ear *)((char *)of_pinned -
				   offsetof(struct api_ear, of_pinned));
	const struct event_fact fact = {
		.who = DAXMR_WHO_OTHERS,
		.at_ns = clock_now_ns(),
		.deadline_ns = deadline_ns,
	};

	event_asked(&ear->region->source, &fact, &ear->asked);
}

static void tell_window(struct window_ear *of_window, int error)
{
	struct api_ear *ear =
		(struct api_ear *)((char *)of_window -
				   offsetof(struct api_ear, of_window));
	const struct event_fact fact = {.at_ns = clock_now_ns(),
					.error = error};

	post(ear, DAXMR_EVENT_SEVERED, &fact);
}

static void asked(struct lease_listener *listener, int64_t deadline_ns)
{
	struct api_ear *ear = (struct api_ear *)listener;
	const struct event_fact fact = {
		.who = DAXMR_WHO_OTHERS,
		.at_ns = deadline_ns - listener->consent_ns,
		.deadline_ns = deadline_ns,
	};

	event_asked(&ear->region->source, &fact, &ear->asked);
}

/* Of a pinned region its MR goes first. */
static void consent(struct api_ear *ear)
{
	if (ear->pinned)
		pinned_agreed(ear->pinned);
	else
		lease_news_consent(&ear->listener);
}

static void agree(struct api_ears *ears, uint64_t asked)
{
	for (size_t i = 0; i < ears->count; i++) {
		struct api_ear *ear = &ears->ear[i];
		uint64_t at = atomic_load(&ear->asked);

		if (at && at <= asked &&
		    atomic_compare_exchange_strong(&ear->asked, &at, 0))
			consent(ear);
	}
}

void api_agreed(struct event_source *source, uint64_t asked)
{
	struct daxmr_region *region = source->nodes[0].event.region;

	agree(&region->ears, asked);
	agree(&region->new_ears, asked);
}

/* Nobody agrees meanwhile. */
static struct api_ears exchange(struct daxmr_region *region,
				struct api_ears *ears, struct api_ears by)
{
	struct api_ears old;

	event_source_pause(&region->source);
	old = *ears;
	*ears = by;
	event_source_resume(&region->source);
	return old;
}

void api_ears_move(struct daxmr_region *region, struct api_ears *from,
		   struct api_ears *to)
{
	event_source_pause(&region->source);
	*to = *from;
	*from = (struct api_ears){0};
	event_source_resume(&region->source);
}

void api_ears_close(struct daxmr_region *region, struct api_ears *ears)
{
	struct api_ears old = exchange(region, ears, (struct api_ears){0});

	while (old.count) {
		struct api_ear *ear = &old.ear[--old.count];

		if (ear->pinned)
			pinned_listen(ear->pinned, NULL);
		if (ear->window)
			window_listen(ear->window, NULL);
		lease_news_unlisten(&ear->listener);
	}
	free(old.ear);
}

static size_t count_leases(const struct api_mr *mr)
{
	size_t count = 0;

	while (mr->stage && stage_lease(mr->stage, count))
		count++;
	return mr->pinned ? 1 : count;
}

/* Who is asked is found before he is. */
int api_ears_open(struct daxmr_region *region, struct api_ears *ears,
		  const struct api_mr *mr)
{
	struct api_ears new = {.count = count_leases(mr)};
	int r = new.count ? event_source_lend(&region->source, leases_engine())
			  : 0;

	if (r)
		return r;
	new.ear = calloc(new.count ? new.count : 1, sizeof(*new.ear));
	if (!new.ear)
		return reason_set(-ENOMEM, "no memory for one region more");
	for (size_t i = 0; i < new.count; i++) {
		struct api_ear *ear = &new.ear[i];

		ear->region = region;
		ear->pinned = mr->pinned;
		ear->of_pinned.tell = tell_pinned;
		ear->of_pinned.ask = ask_pinned;
		ear->of_window.tell = tell_window;
		ear->first = new.ear;
		ear->siblings = new.count;
		ear->listener.changed = changed;
		ear->listener.asked =
			region->is_asked && !mr->pinned ? asked : NULL;
		ear->listener.consent_ns = region->consent_ns;
	}
	exchange(region, ears, new);
	for (size_t i = 0; !r && i < new.count; i++)
		r = lease_news_listen(&new.ear[i].listener,
				      mr->pinned ? pinned_lease(mr->pinned)
						 : stage_lease(mr->stage, i));
	if (!r && mr->pinned)
		pinned_listen(mr->pinned, &new.ear[0].of_pinned);
	/* It is on one file. */
	if (!r && mr->window) {
		new.ear[0].window = mr->window;
		window_listen(mr->window, &new.ear[0].of_window);
	}
	if (r)
		api_ears_close(region, ears);
	return r;
}
