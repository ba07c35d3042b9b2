/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that has been stopped (SIGSTOP) answers nothing: who registers or
 * deregisters is told so in time, and all is as it was. When it goes on it does
 * what it was told, in that order, and nothing is left over. The keeper is the
 * test's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lease_fake_keeper.h"
#include "lease_stage.h"
#include "reason.h"
#include "shadows.h"
#include "unit.h"

#define LENGTH (16UL * PAGE)
/* For what is answered at once; the machine may be busy. */
#define ANSWER_NS (5 * 1000000000LL)

static struct lease_engine *engine;
static struct file file;
static char *map;

static int set_up(void **state)
{
	struct lease_config config = {.answer_ns = ANSWER_NS};

	(void)state;
	fake_start();
	config.keeper_socket = fake_path();
	config.keeper_path = "";
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	file_remove(&file);
	fake_stop();
	return 0;
}

/* Mappings of shadows in this process, the engine's own ones as well. */
static unsigned int count_shadows(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned int count = 0;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "/memfd:" SHADOW_NAME) != NULL;
	fclose(maps);
	return count;
}

static bool is_no_shadow_left(void *arg)
{
	(void)arg;
	return count_shadows() == 0;
}

static bool is_detach_void(void *arg)
{
	(void)arg;
	return fake_canceled() == 1;
}

static struct lease *acquire(void)
{
	struct lease *lease;

	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, LENGTH, &lease), 0);
	return lease;
}

static void check_told(int r)
{
	assert_int_equal(r, -ETIMEDOUT);
	assert_non_null(strstr(reason_text(), "does not answer"));
}

/* What the keeper may still write to stays until it says that it will not. */
static void stage__keeper_stopped__nothing_has_changed(void **state)
{
	struct lease *lease = acquire();

	(void)state;
	fake_stop_at(KEEPER_ATTACH);
	check_told(lease_stage(lease, 0, LENGTH));
	assert_true(stage_is_file_at(&file, map));
	assert_int_equal(count_shadows(), 1);
	fake_go_on();
	wait_for(is_no_shadow_left, NULL, "what was kept for it goes");

	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	assert_false(stage_is_file_at(&file, map));
	unstage_range(lease, 0, LENGTH);
	assert_int_equal(count_shadows(), 0);
	assert_int_equal(fake_keepers(), 1);
}

static void stage__keeper_stopped_then_killed__nothing_is_left(void **state)
{
	struct lease *lease = acquire();

	(void)state;
	fake_stop_at(KEEPER_ATTACH);
	check_told(lease_stage(lease, 0, LENGTH));
	assert_int_equal(count_shadows(), 1);
	fake_die();
	wait_for(is_no_shadow_left, NULL, "what was kept for it goes");
	fake_go_on();
	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	assert_int_equal(fake_keepers(), 2);
	unstage_range(lease, 0, LENGTH);
}

/*
 * The shadow is the keeper's as before. No message says so: what the keeper
 * reads when it goes on may be the last that there was room for, and the
 * program dead.
 */
static void unstage__keeper_stopped__the_shadow_stays(void **state)
{
	struct lease *lease = acquire();
	unsigned int attaches;

	(void)state;
	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	attaches = fake_heard(KEEPER_ATTACH);
	fake_stop_at(KEEPER_DETACH);
	check_told(lease_unstage(lease, 0, LENGTH));
	assert_false(stage_is_file_at(&file, map));
	map[PAGE] = 's';
	fake_go_on();
	wait_for(is_detach_void, NULL, "it reads what does not hold any more");
	assert_int_equal(map[PAGE], 's');
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(fake_heard(KEEPER_ATTACH), attaches);

	/* no region has it, so it goes with the lease */
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	assert_true(stage_is_file_at(&file, map));
	assert_int_equal(count_shadows(), 0);
}

static bool is_attach_heard(void *arg)
{
	return fake_heard(KEEPER_ATTACH) >= *(unsigned int *)arg;
}

static void unstage__keeper_stopped_then_killed__the_next_one_has(void **state)
{
	struct lease *lease = acquire();
	unsigned int attaches;

	(void)state;
	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	/* the range and the shadow */
	attaches = fake_heard(KEEPER_ATTACH) + 2;
	fake_stop_at(KEEPER_DETACH);
	check_told(lease_unstage(lease, 0, LENGTH));
	assert_int_equal(fake_keepers(), 1);
	map[PAGE] = 's';
	fake_die();
	fake_go_on();
	wait_for(is_attach_heard, &attaches, "the next keeper has it");
	assert_int_equal(fake_keepers(), 2);
	assert_int_equal(map[PAGE], 's');
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	assert_true(stage_is_file_at(&file, map));
	assert_int_equal(count_shadows(), 0);
}

/*
 * A shadow that no region has any more is looked at before each request: not
 * while the keeper says nothing, which would take half a minute each time.
 */
static void lingering__keeper_stopped__requests_do_not_wait(void **state)
{
	struct lease *lease = acquire();
	double start;
	uint64_t at;

	(void)state;
	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	fake_stop_at(KEEPER_DETACH);
	check_told(lease_unstage(lease, 0, LENGTH));
	start = now_sec();
	check_told(lease_release(lease, 0, LENGTH, INT64_MAX));
	for (int i = 0; i < 3; i++)
		assert_int_equal(lease_find_shadow(engine, 0, 0, &at), -ENOENT);
	assert_true(now_sec() - start < WAIT_SEC);
	assert_false(stage_is_file_at(&file, map));

	/* by itself, when it goes on */
	fake_go_on();
	wait_for(is_no_shadow_left, NULL, "the file is mapped back");
	assert_true(stage_is_file_at(&file, map));
}

/* Who sets none waits long, but not for ever. */
static void release__no_deadline__there_is_one(void **state)
{
	struct lease *lease = acquire();

	(void)state;
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	assert_in_range(fake_deadline_ns(), 1, INT64_MAX / 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(stage__keeper_stopped__nothing_has_changed),
		TEST(stage__keeper_stopped_then_killed__nothing_is_left),
		TEST(unstage__keeper_stopped__the_shadow_stays),
		TEST(unstage__keeper_stopped_then_killed__the_next_one_has),
		TEST(lingering__keeper_stopped__requests_do_not_wait),
		TEST(release__no_deadline__there_is_one),
	};

	if (file_cannot_lease())
		return 77;
	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests_name("lease stopped", tests, NULL, NULL);
}
