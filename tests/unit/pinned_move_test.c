/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of the rkey when ibv_rereg_mr() puts another region in the place
 * of a pinned one (keys=window). The other is the second of the world's.
 */
#include <errno.h>
#include <pthread.h>

#include "pinned_world.h"
#include "unit.h"

#define KEY   0x4711
#define OTHER 0x4712

static struct pinned *const old = &regions[0], *const new = &regions[1];
static union pinned_seen *seen;
static unsigned int left_alone; /* regions that were there for a move */
static bool asks_for_key;

int pinned_drop_mr(struct pinned *pinned)
{
	int r;

	window_key_close(&pinned->key);
	r = pinned->mr ? pinned->real->dereg_mr(pinned->mr) : 0;
	if (r) {
		pinned_show(pinned);
		return r;
	}
	/* No thread looks at what is busy; the test's regions are not. */
	pthread_mutex_lock(&pinned_lock);
	pinned->mr = NULL;
	pthread_mutex_unlock(&pinned_lock);
	return 0;
}

void pinned_leave(struct pinned *pinned)
{
	assert_ptr_equal(pinned, old);
	assert_null(pinned->mr);
	pthread_mutex_lock(&pinned_lock);
	pinned_all = pinned->next;
	pthread_mutex_unlock(&pinned_lock);
	pinned_end(pinned); /* for the world's end */
}

int pinned_deregister(struct pinned *pinned)
{
	assert_ptr_equal(pinned, new);
	left_alone++;
	atomic_store(&keep, false); /* that was the old one's */
	/* No thread may take it for one that is to come back. */
	pinned_begin(pinned);
	assert_int_equal(pinned_drop_mr(pinned), 0);
	pthread_mutex_lock(&pinned_lock);
	old->next = new->next;
	pthread_mutex_unlock(&pinned_lock);
	pinned_end(pinned);
	return 0;
}

int pinned_register(const struct region_call *call, struct pinned **ret,
		    struct ibv_mr **ret_mr)
{
	assert_int_equal(call->options->keys, KEYS_WINDOW);
	*ret = new;
	*ret_mr = &new->seen->mr;
	return 0;
}

int pinned_carry(const struct region_call *call, bool is_keyed,
		 struct pinned **ret)
{
	assert_int_equal(call->options->keys, KEYS_WINDOW);
	asks_for_key = is_keyed;
	*ret = new;
	return 0;
}

static void give_window(size_t i, uint32_t rkey)
{
	regions[i].keys = KEYS_WINDOW;
	regions[i].access = IBV_ACCESS_REMOTE_WRITE;
	regions[i].key.mw = &windows[i];
	regions[i].key.rkey = regions[i].seen->mr.rkey = rkey;
	on[i] = regions[i].mr;
}

static int begin(void **state)
{
	int r = world_begin(state);

	give_window(0, KEY);
	give_window(1, OTHER);
	may_rebind = true;
	left_alone = 0;
	asks_for_key = false;
	seen = old->seen;
	return r;
}

static int move_to(bool is_file)
{
	static struct ibv_pd pd;
	const struct region_call where = {
		.pd = &pd,
		.access = new->access,
	};
	struct pinned *now = NULL;
	int r = pinned_move(old, &where, is_file, &now);

	assert_ptr_equal(now, r ? NULL : new);
	return r;
}

/* And nothing of the one that was to take its place. */
static void check_moved(void)
{
	assert_ptr_equal(new->key.mw, &windows[0]);
	assert_ptr_equal(new->seen, seen);
	assert_int_equal(seen->mr.rkey, KEY);
	assert_ptr_equal(on[0], new->mr);
	assert_null(on[1]);
	assert_null(old->mr);
	assert_null(old->key.mw);
	assert_int_equal(refused_dereg, 0);
	assert_int_equal(left_alone, 0);
}

static void check_stays(void)
{
	assert_ptr_equal(old->key.mw, &windows[0]);
	assert_ptr_equal(old->seen, seen);
	assert_int_equal(seen->mr.rkey, KEY);
	assert_ptr_equal(on[0], old->mr);
	assert_null(on[1]);
	assert_null(new->mr);
	assert_int_equal(left_alone, 1);
}

static void key__goes_along(void **state)
{
	(void)state;
	assert_int_equal(move_to(true), 0);
	assert_non_null(new->mr);
	check_moved();
}

/* What peers may no more, or may now: with the key that they know. */
static void key__lets_peers_do_what_the_other_region_says(void **state)
{
	(void)state;
	old->key.remote = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
	new->key.remote = IBV_ACCESS_REMOTE_READ;
	assert_int_equal(move_to(true), 0);
	check_moved();
	assert_int_equal(bound_remote, IBV_ACCESS_REMOTE_READ);
	assert_int_equal(new->key.remote, IBV_ACCESS_REMOTE_READ);
}

static void key__goes_along_to_memory(void **state)
{
	(void)state;
	assert_int_equal(move_to(false), 0);
	assert_true(asks_for_key);
	check_moved();
}

/* Until it hears that its file is back. */
static void lose_mr(size_t i)
{
	struct pinned *pinned = &regions[i];

	pinned_begin(pinned);
	on[i] = NULL;
	assert_int_equal(pinned->real->dereg_mr(pinned->mr), 0);
	pthread_mutex_lock(&pinned_lock);
	pinned->mr = NULL;
	pinned->is_tried = true;
	pthread_mutex_unlock(&pinned_lock);
	pinned_end(pinned);
}

static void key__of_a_region_that_is_away_goes_along(void **state)
{
	(void)state;
	lose_mr(0);
	assert_int_equal(move_to(true), 0);
	check_moved();
}

/* And is bound when that is back. */
static void key__is_on_nothing_where_the_other_is_away(void **state)
{
	const struct recall_report back_again = {.to = RECALL_HELD,
						 .cause = RECALL_RETAKEN};

	(void)state;
	lose_mr(1);
	assert_int_equal(move_to(true), 0);
	check_moved();
	assert_null(on[0]);
	pinned_hear(&new->listener, &back_again, 0);
	wait_for(&told[PINNED_BACK], 1);
	pinned_begin(new);
	assert_non_null(new->mr);
	assert_ptr_equal(on[0], new->mr);
	pinned_end(new);
}

/* What peers write is not to go where others have been. */
static void key__is_on_nothing_while_others_have_the_other(void **state)
{
	(void)state;
	on[1] = NULL;
	pthread_mutex_lock(&pinned_lock);
	new->must_go = true;
	new->leave_ns = INT64_MAX; /* it has been tried */
	pthread_mutex_unlock(&pinned_lock);
	assert_int_equal(move_to(true), 0);
	assert_null(on[0]);
	assert_ptr_equal(new->key.mw, &windows[0]);
	assert_null(old->mr);
}

static void key__of_an_mr_that_does_not_go_stays(void **state)
{
	(void)state;
	keep = true;
	assert_int_equal(move_to(true), -EBUSY);
	assert_non_null(old->mr);
	check_stays();
}

static void key__that_does_not_move_stays(void **state)
{
	(void)state;
	refuse_binds = 1;
	assert_int_equal(move_to(true), -EIO);
	assert_non_null(old->mr);
	check_stays();
}

static void key__that_is_nowhere_to_be_bound_is_lost(void **state)
{
	(void)state;
	refuse_bind = true;
	assert_int_equal(move_to(true), -ENOKEY);
	assert_null(old->key.mw);
	assert_null(on[0]);
	assert_non_null(old->mr);
	assert_int_equal(seen->mr.rkey, old->mr->rkey);
	assert_int_equal(left_alone, 1);
}

/* As the new access flags let no peer in. */
static void key__goes_where_none_is_to_be(void **state)
{
	(void)state;
	on[1] = NULL;
	new->key = (struct window_key){0};
	new->access = 0;
	pinned_show(new);
	assert_int_equal(move_to(true), 0);
	assert_null(on[0]);
	assert_null(new->key.mw);
	assert_null(old->mr);
	assert_int_equal(refused_dereg, 0);
	assert_ptr_equal(new->seen, seen);
	assert_int_equal(seen->mr.rkey, new->mr->rkey);
}

static void key__comes_where_there_was_none(void **state)
{
	(void)state;
	on[0] = NULL;
	old->key = (struct window_key){0};
	old->access = 0;
	assert_int_equal(move_to(true), 0);
	assert_ptr_equal(on[1], new->mr);
	assert_ptr_equal(new->key.mw, &windows[1]);
	assert_null(old->mr);
	assert_int_equal(seen->mr.rkey, OTHER);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, world_end)
	const struct CMUnitTest tests[] = {
		CASE(key__goes_along),
		CASE(key__lets_peers_do_what_the_other_region_says),
		CASE(key__goes_along_to_memory),
		CASE(key__of_a_region_that_is_away_goes_along),
		CASE(key__is_on_nothing_where_the_other_is_away),
		CASE(key__is_on_nothing_while_others_have_the_other),
		CASE(key__of_an_mr_that_does_not_go_stays),
		CASE(key__that_does_not_move_stays),
		CASE(key__that_is_nowhere_to_be_bound_is_lost),
		CASE(key__goes_where_none_is_to_be),
		CASE(key__comes_where_there_was_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
