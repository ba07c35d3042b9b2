/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stories of a region that is pinned and whose program is asked, hooks or
 * not: each event in its order, and which keys it has when. On whatever device,
 * and files that can be pinned.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "api_daemon.h"
#include "api_stories.h"
#include "unit.h"

#define PAGE DAEMON_PAGE

static struct ibv_pd *pd;

void api_pinned_stories_for(struct ibv_pd *of)
{
	pd = of;
}

/* A long time: nothing but the ack can let it go in a test. */
static const struct daxmr_options asks = {
	.strategy = DAXMR_STRATEGY_PINNED,
	.on_recall = DAXMR_ON_RECALL_ASK,
	.quiesce_ms = 60000,
};

static struct daxmr_info info_of(const struct daemon_file *file)
{
	struct daxmr_info info = {.size = sizeof(info)};

	assert_int_equal(daxmr_region_info(file->region, &info), 0);
	return info;
}

static uint64_t late(const struct daemon_file *file)
{
	struct daxmr_stats stats = {.size = sizeof(stats)};

	assert_int_equal(daxmr_region_stats(file->region, &stats), 0);
	return stats.consents_late;
}

/* The MR is there, and the keys are its. */
static void check_there(const struct daemon_file *file)
{
	struct daxmr_info info = info_of(file);

	assert_int_equal(info.strategy, DAXMR_STRATEGY_PINNED);
	assert_int_equal(info.state, DAXMR_STATE_HELD);
	assert_int_not_equal(info.rkey, 0);
	assert_int_not_equal(info.lkey, 0);
	assert_int_equal(info.rkey, info.mr->rkey);
	assert_int_equal(info.lkey, info.mr->lkey);
}

static void check_away(const struct daemon_file *file)
{
	assert_int_equal(info_of(file).rkey, 0);
	assert_int_equal(info_of(file).lkey, 0);
}

/* Who wants the file has it open when this returns, and it was agreed to. */
static void lend(const struct daemon_file *file, struct outsider *outsider)
{
	struct daxmr_event *event;

	outsider_start(outsider, file, O_RDWR);
	event = daemon_expect_out(file, DAXMR_EVENT_RECALL);
	assert_int_equal(event->who, DAXMR_WHO_OTHERS);
	assert_true(event->deadline_ns > event->at_ns);
	/* its work goes on until it says that it does not */
	assert_int_not_equal(info_of(file).rkey, 0);
	assert_int_not_equal(info_of(file).lkey, 0);
	assert_int_equal(daxmr_event_ack(event), 0);
	outsider_wait_open(outsider);
	assert_int_equal(daemon_expect(file, DAXMR_EVENT_YIELDED).error, 0);
	check_away(file);
}

static void others__cut_the_file_off_and_let_it_grow(void **state)
{
	struct outsider other;
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, asks);
	check_there(&file);
	file.addr[PAGE] = 'p';

	lend(&file, &other);
	assert_int_equal(outsider_read(&other, PAGE), 'p');
	outsider_truncate(&other, 4 * PAGE);
	outsider_end(&other);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_SHRUNK).blocks,
			 DAEMON_SIZE / PAGE - 4);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	check_there(&file);

	lend(&file, &other);
	outsider_truncate(&other, DAEMON_SIZE);
	outsider_end(&other);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_GROWN).blocks,
			 DAEMON_SIZE / PAGE - 4);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	check_there(&file);

	daemon_expect_none(&file);
	assert_int_equal(late(&file), 0);
	daemon_close(&file);
}

/* Of both, in the order in which they come. */
static void expect_two(const struct daemon_file *file,
		       enum daxmr_event_kind first,
		       enum daxmr_event_kind second, struct daxmr_event *ret)
{
	struct daxmr_event *event;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			daxmr_event_get(file->channel, DAEMON_WAIT_MS, &event),
			0);
		assert_true(event->kind == first || event->kind == second);
		ret[event->kind == second] = *event;
		assert_int_equal(daxmr_event_ack(event), 0);
	}
	assert_int_equal(ret[0].kind, first);
	assert_int_equal(ret[1].kind, second);
}

static void program__does_not_agree_in_time(void **state)
{
	struct daxmr_event *recall, events[2];
	struct daxmr_options options = asks;
	struct daemon_file file;
	struct outsider other;

	(void)state;
	options.quiesce_ms = 2000;
	daemon_open(&file);
	daemon_register(&file, pd, options);

	outsider_start(&other, &file, O_RDWR);
	recall = daemon_expect_out(&file, DAXMR_EVENT_RECALL);
	outsider_wait_open(&other);
	expect_two(&file, DAXMR_EVENT_SEVERED, DAXMR_EVENT_YIELDED, events);
	assert_int_equal(events[0].error, -ETIMEDOUT);
	assert_true(events[0].at_ns >= recall->deadline_ns);
	check_away(&file);
	/* too late, and nothing comes of it */
	assert_int_equal(daxmr_event_ack(recall), 0);
	outsider_end(&other);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	check_there(&file);
	assert_int_equal(late(&file), 1);

	/* an ack that was for the last time is none */
	lend(&file, &other);
	outsider_end(&other);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	daemon_expect_none(&file);
	daemon_close(&file);
}

/* Which is an answer as well. */
static void program__deregisters_while_it_is_asked(void **state)
{
	struct daxmr_event *recall;
	struct daemon_file file;
	struct outsider other;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, asks);
	outsider_start(&other, &file, O_RDWR);
	recall = daemon_expect_out(&file, DAXMR_EVENT_RECALL);
	assert_int_equal(daxmr_dereg_mr(file.region), 0);
	outsider_wait_open(&other);
	outsider_end(&other);
	assert_int_equal(daxmr_event_ack(recall), 0);
	file.region = NULL;
	daemon_close(&file);
}

/* The file goes with the last of them that agrees. */
static void regions__two_of_a_file(void **state)
{
	struct daxmr_event *events[2];
	struct daxmr_region *first;
	struct daemon_file file;
	struct outsider other;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, asks);
	first = file.region;
	daemon_register(&file, pd, asks);
	outsider_start(&other, &file, O_RDWR);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(daxmr_event_get(file.channel, DAEMON_WAIT_MS,
						 &events[i]),
				 0);
		assert_int_equal(events[i]->kind, DAXMR_EVENT_RECALL);
	}
	assert_ptr_not_equal(events[0]->region, events[1]->region);
	assert_int_equal(daxmr_event_ack(events[0]), 0);
	daemon_expect_none(&file);
	assert_int_equal(info_of(&file).state, DAXMR_STATE_BREAKING);
	assert_int_equal(daxmr_event_ack(events[1]), 0);
	outsider_wait_open(&other);
	outsider_end(&other);
	assert_int_equal(daxmr_dereg_mr(first), 0);
	daemon_close(&file);
}

static void resize__asks_nobody(void **state)
{
	struct daxmr_info info;
	struct daemon_file file;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, pd, asks);
	assert_int_equal(daxmr_resize(file.region, file.fd, 2 * DAEMON_SIZE,
				      2 * DAEMON_SIZE),
			 0);
	info = info_of(&file);
	assert_int_equal(info.length, 2 * DAEMON_SIZE);
	assert_int_equal(info.mr->length, 2 * DAEMON_SIZE);
	daemon_close(&file);
}

const struct CMUnitTest api_pinned_stories[] = {
	cmocka_unit_test(others__cut_the_file_off_and_let_it_grow),
	cmocka_unit_test(program__does_not_agree_in_time),
	cmocka_unit_test(program__deregisters_while_it_is_asked),
	cmocka_unit_test(regions__two_of_a_file),
	cmocka_unit_test(resize__asks_nobody),
};

_Static_assert(sizeof(api_pinned_stories) / sizeof(api_pinned_stories[0]) ==
		       API_PINNED_STORIES,
	       "API_PINNED_STORIES counts them");
