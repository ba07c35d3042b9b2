/* SPDX-License-Identifier: BSD-2-Clause */
/* A fake clock, kernel and actions: lease_recall_world.h. */
#include <errno.h>
#include <string.h>

#include "lease_recall_world.h"
#include "unit.h"

static int64_t fake_now(void *arg)
{
	return ((struct world *)arg)->now_ns;
}

static int fake_take(void *arg)
{
	struct world *w = arg;

	w->takes++;
	if (!w->take_result)
		w->lease = OURS;
	return w->take_result;
}

static int fake_unlock(void *arg)
{
	struct world *w = arg;
	int r = w->lease == NONE ? -EAGAIN : 0;

	w->lease = NONE;
	return r;
}

static int fake_check(void *arg)
{
	struct world *w = arg;

	return w->lease == NONE ? -EAGAIN : w->lease == BREAKING;
}

static int piece(struct world *w, int result, int *pieces)
{
	if (w->lease == NONE)
		w->wrote_without_lease++;
	w->now_ns += w->piece_ns;
	if (result < 0)
		return result;
	if (*pieces > 0)
		--*pieces;
	return *pieces;
}

static int fake_flush(void *arg)
{
	struct world *w = arg;
	int r = piece(w, w->flush_result, &w->flush_pieces);

	w->flushes++;
	if (!r)
		w->unwritten = false;
	return r;
}

static int fake_merge(void *arg)
{
	struct world *w = arg;

	w->merges++;
	return piece(w, w->merge_result, &w->merge_pieces);
}

static void fake_restart_flush(void *arg)
{
	((struct world *)arg)->flush_restarts++;
}

static void fake_restart_merge(void *arg)
{
	((struct world *)arg)->merge_restarts++;
}

static int fake_seal(void *arg)
{
	struct world *w = arg;
	int r = w->seal_result;

	w->seals++;
	if (r > 0)
		w->seal_result = 0;
	return r;
}

static bool fake_has_unwritten(void *arg)
{
	return ((struct world *)arg)->unwritten;
}

static void fake_ask(void *arg, int64_t deadline_ns)
{
	struct world *w = arg;

	w->asked++;
	w->asked_deadline_ns = deadline_ns;
}

static void fake_tell(void *arg, const struct recall_report *report)
{
	struct world *w = arg;

	assert_true(report->from == report->to ||
		    recall_may_go(report->from, report->to));
	assert_int_equal(report->to, w->recall.state);
	assert_int_equal(report->at_ns, w->now_ns);
	assert_true(report->spent_ns >= 0);
	w->reports[w->told++ % REPORTS] = *report;
}

const struct recall_actions world_actions = {
	.now = fake_now,
	.take = fake_take,
	.unlock = fake_unlock,
	.check = fake_check,
	.flush = fake_flush,
	.merge = fake_merge,
	.restart_flush = fake_restart_flush,
	.restart_merge = fake_restart_merge,
	.seal = fake_seal,
	.has_unwritten = fake_has_unwritten,
	.ask_consent = fake_ask,
	.tell = fake_tell,
};

const struct recall_actions world_few_actions = {
	.now = fake_now,
	.take = fake_take,
	.unlock = fake_unlock,
	.check = fake_check,
	.tell = fake_tell,
};

const struct recall_policy world_policy = {
	.break_ns = 1000 * MS,
	.retry_ns = 300 * MS,
	.pause_min_ns = RECALL_PAUSE_MIN,
	.pause_max_ns = RECALL_PAUSE_MAX,
};

void world_hold(struct world *w, const struct recall_actions *actions)
{
	memset(w, 0, sizeof(*w));
	w->now_ns = 1000 * MS;
	w->flush_pieces = w->merge_pieces = 1;
	recall_init(&w->recall, actions, w, &world_policy);
	w->lease = OURS;
	assert_int_equal(recall_granted(&w->recall), 0);
	assert_int_equal(w->recall.state, RECALL_HELD);
}

void world_break(struct world *w)
{
	w->lease = BREAKING;
	recall_break_heard(&w->recall);
}

int64_t world_run(struct world *w)
{
	return recall_run(&w->recall);
}

void world_run_until(struct world *w, int64_t until_ns)
{
	int64_t due_ns;

	for (;;) {
		due_ns = world_run(w);
		if (due_ns > until_ns)
			break;
		if (due_ns > w->now_ns)
			w->now_ns = due_ns;
	}
	if (w->now_ns < until_ns)
		w->now_ns = until_ns;
}

const struct recall_report *world_last(struct world *w)
{
	assert_true(w->told > 0);
	return &w->reports[(w->told - 1) % REPORTS];
}

void world_check_last(struct world *w, enum recall_state from,
		      enum recall_state to, enum recall_cause cause, int error)
{
	assert_int_equal(world_last(w)->from, from);
	assert_int_equal(world_last(w)->to, to);
	assert_int_equal(world_last(w)->cause, cause);
	assert_int_equal(world_last(w)->error, error);
}

void world_yield(struct world *w)
{
	world_break(w);
	while (w->recall.state == RECALL_BREAKING)
		world_run(w);
	assert_int_equal(w->recall.state, RECALL_YIELDED);
}
