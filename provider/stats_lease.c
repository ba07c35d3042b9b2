/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to leased files, counted: stats.h. All of it is the engine's
 * thread's.
 */
#include "heap.h"
#include "lease.h"
#include "stats.h"

struct counted {
	struct stats_file_slot *slot;
	struct stats_file file;
	bool is_recall; /* BREAKING, because others want it */
};

static struct counted *begin(struct lease *lease,
			     const struct recall_report *report)
{
	struct counted *counted = heap_get(1, sizeof(*counted));
	dev_t dev;
	ino_t ino;

	if (counted)
		counted->slot = stats_file_take();
	if (!counted || !counted->slot) {
		heap_put(counted);
		return NULL;
	}
	lease_file(lease, &dev, &ino);
	counted->file.is_there = 1;
	counted->file.dev = dev;
	counted->file.ino = ino;
	counted->file.leased_ns = report->at_ns;
	return counted;
}

static unsigned int bucket_of(int64_t ns)
{
	uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
	unsigned int bucket = 0;

	while (us >> bucket && bucket < STATS_BUCKETS - 1)
		bucket++;
	return bucket;
}

static void hand_over(struct stats_file *file, int64_t took_ns)
{
	file->handed_over++;
	file->all_ns += (uint64_t)took_ns;
	file->bucket[bucket_of(took_ns)]++;
	if ((uint64_t)took_ns > file->longest_ns)
		file->longest_ns = (uint64_t)took_ns;
}

static void count_change(struct counted *counted,
			 const struct recall_report *report)
{
	struct stats_file *file = &counted->file;
	int64_t took_ns = report->spent_ns > 0 ? report->spent_ns : 0;

	file->state = report->to;
	file->since_ns = report->at_ns;
	file->spent_ns[report->from] += (uint64_t)took_ns;
	if (report->from == RECALL_BREAKING && counted->is_recall)
		hand_over(file, took_ns);
	counted->is_recall = report->to == RECALL_BREAKING &&
			     report->cause == RECALL_BREAK_HEARD;
	file->yielded += report->to == RECALL_YIELDED;
	file->lost += report->to == RECALL_LOST;
}

static void count_cause(struct stats_file *file,
			const struct recall_report *report)
{
	switch (report->cause) {
	case RECALL_BREAK_HEARD:
		file->recalls++;
		break;
	case RECALL_OWN_OPEN:
		file->own_opens++;
		break;
	case RECALL_CHANGED:
		file->changed++;
		break;
	case RECALL_OUT_OF_TIME:
		file->forced++;
		break;
	case RECALL_RETAKEN:
		file->retaken++;
		break;
	case RECALL_MERGED:
		file->merged++;
		break;
	case RECALL_FLUSH_FAILED:
		file->flush_errors++;
		break;
	case RECALL_SHRUNK:
		file->cut_off += report->beyond;
		break;
	case RECALL_GROWN:
		file->grown += report->beyond;
		break;
	case RECALL_DROPPED:
		file->dropped += report->beyond;
		break;
	default:
		break;
	}
	file->theirs += report->theirs;
	file->conflicts += report->conflicts;
}

/* False: they are what they were. */
static bool count_flushed(struct lease *lease, struct stats_file *file)
{
	struct lease_flushed flushed;
	bool is_same;

	lease_flushed(lease, &flushed);
	is_same = file->compared == flushed.compared &&
		  file->copied == flushed.copied &&
		  file->failed == flushed.failed;
	file->compared = flushed.compared;
	file->copied = flushed.copied;
	file->failed = flushed.failed;
	return !is_same;
}

static void write_file(const struct counted *counted)
{
	stats_slot_write(&counted->slot->sequence, counted->slot->word,
			 &counted->file, STATS_WORDS(counted->file));
}

void stats_lease_changed(struct lease *lease,
			 const struct recall_report *report, uint64_t missed)
{
	struct lease_heard *heard = lease_heard(lease);
	struct counted *counted = heard->counted;

	if ((unsigned int)report->from >= RECALL_STATES ||
	    (unsigned int)report->to >= RECALL_STATES)
		return; /* a keeper from outside */
	if (!counted && report->to != RECALL_FREE)
		counted = heard->counted = begin(lease, report);
	if (!counted)
		return;
	if (report->from != report->to)
		count_change(counted, report);
	count_cause(&counted->file, report);
	count_flushed(lease, &counted->file);
	counted->file.missed += missed;
	write_file(counted);
}

void stats_lease_looked(struct lease *lease)
{
	struct counted *counted = lease_heard(lease)->counted;

	if (counted && count_flushed(lease, &counted->file))
		write_file(counted);
}

void stats_lease_gone(struct lease *lease)
{
	struct counted *counted = lease_heard(lease)->counted;

	if (!counted)
		return;
	lease_heard(lease)->counted = NULL;
	stats_file_give_back(counted->slot);
	heap_put(counted);
}
