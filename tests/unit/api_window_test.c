/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions of daxmr.h whose key is a window's: who hears of the window, also
 * when an MR cannot be deregistered, whose window has gone by then. All that
 * registers is the test's own.
 */
#include <errno.h>

#include "api_region.h"
#include "mr_record.h"
#include "real.h"
#include "unit.h"

#define LENGTH 4096UL

/* A window for each MR; nobody looks into either. */
static struct ibv_mr mrs[2];
static struct window_place {
	int listeners;
	bool is_gone;
} windows[2];
static unsigned int count;
static bool is_pinned; /* the region is, and nobody looks into that either */
static struct ibv_mr *refused; /* cannot be deregistered */
static struct real_verbs real;
static char memory[2 * LENGTH];

const struct real_verbs *real_verbs(void)
{
	return &real;
}

struct ibv_mr *__wrap_region_register(const struct region_call *call);
int __wrap_region_deregister(const struct real_verbs *by, struct ibv_mr *mr);
bool __wrap_mr_record_get(const struct ibv_mr *mr, struct mr_record *ret);
void __wrap_window_listen(struct window *window, struct window_ear *ear);

struct ibv_mr *__wrap_region_register(const struct region_call *call)
{
	(void)call;
	return &mrs[count++];
}

int __wrap_region_deregister(const struct real_verbs *by, struct ibv_mr *mr)
{
	(void)by;
	windows[mr - mrs].is_gone = true;
	return mr == refused ? EBUSY : 0;
}

bool __wrap_mr_record_get(const struct ibv_mr *mr, struct mr_record *ret)
{
	*ret = (struct mr_record){
		.mr = mr,
		.strategy = STRATEGY_STAGED,
		.window = (struct window *)&windows[mr - mrs],
	};
	if (is_pinned) {
		ret->strategy = STRATEGY_PINNED;
		ret->pinned = (struct pinned *)&windows[mr - mrs];
		ret->window = NULL;
	}
	return true;
}

void __wrap_window_listen(struct window *window, struct window_ear *ear)
{
	struct window_place *place = (struct window_place *)window;

	assert_false(place->is_gone);
	place->listeners += ear ? 1 : -1;
}

static struct pinned_ear *pinned_ear;

int __wrap_lease_news_listen(struct lease_listener *listener,
			     struct lease *lease);
void __wrap_lease_news_unlisten(struct lease_listener *listener);
struct lease *__wrap_pinned_lease(const struct pinned *pinned);
void __wrap_pinned_listen(struct pinned *pinned, struct pinned_ear *ear);

int __wrap_lease_news_listen(struct lease_listener *listener,
			     struct lease *lease)
{
	(void)listener;
	assert_null(lease);
	return 0;
}

void __wrap_lease_news_unlisten(struct lease_listener *listener)
{
	(void)listener;
}

struct lease *__wrap_pinned_lease(const struct pinned *pinned)
{
	(void)pinned;
	return NULL;
}

void __wrap_pinned_listen(struct pinned *pinned, struct pinned_ear *ear)
{
	(void)pinned;
	pinned_ear = ear;
}

static int set_up(void **state)
{
	(void)state;
	count = 0;
	is_pinned = false;
	refused = NULL;
	for (int i = 0; i < 2; i++)
		windows[i] = (struct window_place){0};
	return 0;
}

static struct daxmr_region *registered(void)
{
	struct daxmr_region *region = NULL;

	assert_int_equal(daxmr_reg_mr(NULL, memory, LENGTH,
				      IBV_ACCESS_REMOTE_READ, NULL, &region),
			 0);
	assert_int_equal(windows[0].listeners, 1);
	return region;
}

static void dereg_fails__the_window_has_gone(void **state)
{
	struct daxmr_region *region = registered();

	(void)state;
	refused = &mrs[0];
	assert_int_equal(daxmr_dereg_mr(region), -EBUSY);
	assert_null(region->mr.window);
	refused = NULL;
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

static void resize_fails__the_window_has_gone(void **state)
{
	struct daxmr_region *region = registered();

	(void)state;
	refused = &mrs[0];
	assert_int_equal(daxmr_resize(region, -1, 0, 2 * LENGTH), -EBUSY);
	assert_ptr_equal(region->mr.mr, &mrs[0]);
	assert_null(region->mr.window);
	assert_true(windows[1].is_gone);
	refused = NULL;
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

static void resized__the_new_one_is_heard(void **state)
{
	struct daxmr_region *region = registered();

	(void)state;
	assert_int_equal(daxmr_resize(region, -1, 0, 2 * LENGTH), 0);
	assert_true(windows[0].is_gone);
	assert_int_equal(windows[1].listeners, 1);
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

/* It is the device that does not answer: nobody was asked. */
static void pinned__window_times_out_is_no_late_ack(void **state)
{
	struct daxmr_stats stats = {.size = sizeof(stats)};
	struct daxmr_region *region = NULL;

	(void)state;
	is_pinned = true;
	assert_int_equal(daxmr_reg_mr(NULL, memory, LENGTH,
				      IBV_ACCESS_REMOTE_READ, NULL, &region),
			 0);
	assert_non_null(pinned_ear);
	pinned_ear->tell(pinned_ear, PINNED_SEVERED, 0, -ETIMEDOUT);
	assert_int_equal(daxmr_region_stats(region, &stats), 0);
	assert_int_equal(stats.consents_late, 0);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_null(pinned_ear);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(dereg_fails__the_window_has_gone,
				       set_up),
		cmocka_unit_test_setup(resize_fails__the_window_has_gone,
				       set_up),
		cmocka_unit_test_setup(resized__the_new_one_is_heard, set_up),
		cmocka_unit_test_setup(pinned__window_times_out_is_no_late_ack,
				       set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
