/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is reported of a lease, as events and counts of the regions in its file.
 * All of it runs on the engine's thread, but when a region is opened or closed.
 */
#include <errno.h>
#include <stdlib.h>

#include "api_region.h"
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

static void written(struct api_ear *ear, const struct event_fact *fact)
{
	int64_t asked_ns = atomic_load(&ear->region->flush_asked_ns);

	/* What was written before was that of somebody else. */
	if (asked_ns && fact->at_ns >= asked_ns &&
	    atomic_compare_exchange_strong(&ear->region->flush_asked_ns,
					   &asked_ns, 0))
		post(ear, DAXMR_EVENT_FLUSHED, fact);
}

static void yielded(struct api_ear *ear, const struct event_fact *fact)
{
	if (atomic_exchange(&ear->asked, 0))
		add(ear, API_CONSENTS_LATE, 1);
	add(ear, API_YIELDED, 1);
	if (fact->error)
		failed(ear, fact);
	else
		written(ear, fact);
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

static void changed(struct lease_listener *listener,
		    const struct recall_report *report, uint64_t missed)
{
	struct api_ear *ear = (struct api_ear *)listener;
	struct event_fact fact = {.at_ns = report->at_ns,
				  .error = report->error};

	(void)missed;
	if (report->from == RECALL_YIELDED && report->to != RECALL_YIELDED)
		add(ear, API_YIELDED_NS, (uint64_t)report->spent_ns);
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
		yielded(ear, &fact);
		break;
	case RECALL_WRITTEN:
		written(ear, &fact);
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

static void agree(struct api_ears *ears, uint64_t asked)
{
	for (size_t i = 0; i < ears->count; i++) {
		struct api_ear *ear = &ears->ear[i];
		uint64_t at = atomic_load(&ear->asked);

		if (at && at <= asked &&
		    atomic_compare_exchange_strong(&ear->asked, &at, 0))
			lease_news_consent(&ear->listener);
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

	while (old.count)
		lease_news_unlisten(&old.ear[--old.count].listener);
	free(old.ear);
}

static size_t count_leases(const struct stage *stage)
{
	size_t count = 0;

	while (stage && stage_lease(stage, count))
		count++;
	return count;
}

/* Who is asked is found before he is. */
int api_ears_open(struct daxmr_region *region, struct api_ears *ears,
		  const struct stage *stage)
{
	struct api_ears new = {.count = count_leases(stage)};
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
		ear->listener.changed = changed;
		ear->listener.asked = region->is_asked ? asked : NULL;
		ear->listener.consent_ns = region->consent_ns;
	}
	exchange(region, ears, new);
	for (size_t i = 0; !r && i < new.count; i++)
		r = lease_news_listen(&new.ear[i].listener,
				      stage_lease(stage, i));
	if (r)
		api_ears_close(region, ears);
	return r;
}
