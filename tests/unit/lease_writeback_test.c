/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The write-back of what differs while a file is held: when a pass comes, what
 * comes before it, what is told of it, what it costs. First the table with a
 * fake clock, then a keeper.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "extent_book.h"
#include "lease_kept.h"
#include "lease_recall_world.h"
#include "unit.h"

#undef MS
#define MS 1000000LL

static void hold(struct world *w)
{
	struct recall_policy policy = world_policy;

	world_hold(w, &world_actions);
	policy.flush_ns = 1000 * MS;
	recall_init(&w->recall, &world_actions, w, &policy);
	assert_int_equal(recall_granted(&w->recall), 0);
	w->told = 0;
}

static void table__a_pass_each_period_and_nothing_is_told(void **state)
{
	struct world w;
	int64_t start_ns;

	(void)state;
	hold(&w);
	start_ns = w.now_ns;
	assert_int_equal(world_run(&w), start_ns + 1000 * MS);
	assert_int_equal(w.flushes, 0);
	w.flush_pieces = 3;
	world_run_until(&w, start_ns + 3500 * MS);
	/* three pieces, then one of each pass */
	assert_int_equal(w.flushes, 3 + 1 + 1);
	assert_int_equal(w.flush_restarts, 3);
	assert_int_equal(w.told, 0);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static void table__changes_by_others_do_not_put_it_off(void **state)
{
	struct world w;
	int64_t start_ns;

	(void)state;
	hold(&w);
	start_ns = w.now_ns;
	for (int i = 1; i <= 9; i++) {
		world_run_until(&w, start_ns + i * 300 * MS);
		recall_changed(&w.recall);
	}
	assert_int_equal(w.flushes, 2);
	assert_int_equal(w.recall.state, RECALL_MERGING);
}

static void table__off_or_nothing_to_flush_nothing_is_due(void **state)
{
	struct world w;

	(void)state;
	hold(&w);
	w.recall.policy.flush_ns = 0;
	assert_int_equal(world_run(&w), RECALL_NEVER);
	hold(&w);
	w.recall.actions = &world_few_actions;
	assert_int_equal(world_run(&w), RECALL_NEVER);
}

static void table__yielded_or_lost_nothing_is_written(void **state)
{
	struct world w;

	(void)state;
	hold(&w);
	w.take_result = -EAGAIN;
	world_yield(&w);
	w.flushes = 0;
	world_run_until(&w, w.now_ns + 5000 * MS);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.flushes, 0);
	/* The kernel took it unheard: found before a piece. */
	hold(&w);
	w.take_result = -EAGAIN;
	w.lease = NONE;
	world_run_until(&w, w.now_ns + 5000 * MS);
	assert_int_equal(w.recall.state, RECALL_LOST);
	assert_int_equal(w.flushes, 0);
	assert_int_equal(w.wrote_without_lease, 0);
}

static void table__broken_in_a_pass_the_next_piece_is_the_breaks(void **state)
{
	struct world w;

	(void)state;
	hold(&w);
	w.flush_pieces = 100;
	w.now_ns += 1000 * MS;
	world_run(&w);
	assert_true(w.recall.is_writing_back);
	w.flush_pieces = 2;
	world_break(&w);
	assert_int_equal(w.flush_restarts, 2);
	world_run(&w);
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_YIELDED);
	assert_int_equal(w.flushes, 3);
}

/* That nobody announced it either: unheard, it is found between two pieces. */
static void table__broken_unheard_it_is_found_between_pieces(void **state)
{
	struct world w;

	(void)state;
	hold(&w);
	w.flush_pieces = 100;
	w.now_ns += 1000 * MS;
	world_run(&w);
	w.lease = BREAKING;
	world_run(&w);
	assert_int_equal(w.recall.state, RECALL_BREAKING);
	assert_int_equal(w.flushes, 1);
}

static void table__demanded_in_a_pass_it_comes_first_and_anew(void **state)
{
	struct world w;
	int64_t at_ns;

	(void)state;
	hold(&w);
	w.flush_pieces = 100;
	w.now_ns += 1000 * MS;
	world_run(&w);
	recall_flush_now(&w.recall);
	assert_int_equal(w.flush_restarts, 2);
	w.flush_pieces = 1;
	at_ns = w.now_ns;
	assert_int_equal(world_run(&w), at_ns + 1000 * MS);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_WRITTEN, 0);
	assert_int_equal(w.told, 1);
}

static void table__an_error_is_told_once_and_tried_again(void **state)
{
	struct world w;

	(void)state;
	hold(&w);
	w.flush_result = -ENOSPC;
	world_run_until(&w, w.now_ns + 5500 * MS);
	assert_int_equal(w.told, 1);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_FLUSH_FAILED,
			 -ENOSPC);
	assert_int_equal(w.flushes, 5);
	/* What the owner changes meanwhile changes nothing about it. */
	recall_settle(&w.recall);
	world_run_until(&w, w.now_ns + 2000 * MS);
	assert_int_equal(w.told, 1);
	w.flush_result = -EIO;
	world_run_until(&w, w.now_ns + 2000 * MS);
	assert_int_equal(w.told, 2);
	w.flush_result = 0;
	world_run_until(&w, w.now_ns + 2000 * MS);
	w.flush_result = -EIO;
	world_run_until(&w, w.now_ns + 2000 * MS);
	assert_int_equal(w.told, 3);
}

/* With a period as short as none the pauses grow all the same. */
static void table__an_error_is_tried_again_with_pauses(void **state)
{
	struct world w;

	(void)state;
	hold(&w);
	w.recall.policy.flush_ns = 1 * MS;
	w.flush_result = -EIO;
	world_run_until(&w, w.now_ns + 10000 * MS);
	assert_in_range(w.flushes, 10, 20);
}

/* What is stored meanwhile may be of blocks that there is room for. */
static void table__a_merge_that_fails_does_not_hold_it_up(void **state)
{
	struct world w;
	int flushes;

	(void)state;
	hold(&w);
	w.merge_result = -ENOSPC;
	recall_settle(&w.recall);
	world_run_until(&w, w.now_ns + 5500 * MS);
	assert_in_range(w.flushes, 4, 5);
	assert_int_equal(w.told, 1);
	world_check_last(&w, RECALL_HELD, RECALL_HELD, RECALL_MERGE_FAILED,
			 -ENOSPC);
	world_yield(&w);
	flushes = w.flushes;
	world_run_until(&w, w.now_ns + 6500 * MS);
	assert_int_equal(w.recall.state, RECALL_MERGING);
	assert_in_range(w.flushes, flushes + 4, flushes + 6);
	assert_true(w.merges > 10);
	assert_int_equal(w.wrote_without_lease, 0);
	w.merge_result = 0;
	world_run_until(&w, w.now_ns + 1000 * MS);
	assert_int_equal(w.recall.state, RECALL_HELD);
}

static int64_t pace_ns;

static int64_t fake_pace(void *arg)
{
	(void)arg;
	return pace_ns;
}

static void table__pieces_come_as_the_pace_allows(void **state)
{
	struct recall_actions actions = world_actions;
	struct world w;

	(void)state;
	hold(&w);
	actions.pace = fake_pace;
	w.recall.actions = &actions;
	w.flush_pieces = 3;
	w.now_ns += 1000 * MS;
	pace_ns = w.now_ns + 7;
	assert_int_equal(world_run(&w), pace_ns);
	assert_int_equal(w.flushes, 0);
	/* what is demanded does not wait for it */
	recall_flush_now(&w.recall);
	world_run(&w);
	assert_int_equal(w.flushes, 1);
}

/* A keeper that writes back each 20 ms, and a shadow of 16 MiB. */
#define BLOCKS	  4096UL
#define SIZE	  (BLOCKS * PAGE)
#define PERIOD_MS 20

static struct extent_shelf shelf;
static struct extent extent;
static int shadow_fd;
static char *shadow, *bytes;

static void acquire(uint32_t flush_ms, uint32_t flush_cpu)
{
	struct keeper_request wanted = kept_request(0);

	wanted.flush_ms = flush_ms;
	wanted.flush_cpu = flush_cpu;
	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_ALLOCATE), 0);
	kept_fence();
}

static void attach(void)
{
	struct keeper_extent wanted = {
		.extent = 1,
		.length = SIZE,
		.shadow_fd = shadow_fd,
		.page = extent_place(&extent),
	};
	struct keeper_message message;

	assert_int_equal(keeper_attach(&keeper, &wanted), 0);
	do {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	} while (message.kind != KEEPER_ATTACHED);
	assert_int_equal(message.error, 0);
}

static int setup(void **state)
{
	kept_setup(state);
	assert_int_equal(ftruncate(file.fd, SIZE), 0);
	bytes = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file.fd, 0);
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(shadow_fd, SIZE), 0);
	shadow = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, shadow_fd,
		      0);
	assert_true(shadow != MAP_FAILED && bytes != MAP_FAILED);
	assert_int_equal(extent_new(&shelf, 0, SIZE, &extent), 0);
	for (uint64_t block = 0; block < BLOCKS; block++)
		extent_set_filled(&extent, block);
	return 0;
}

static int teardown(void **state)
{
	extent_free(&shelf, &extent);
	munmap(shadow, SIZE);
	munmap(bytes, SIZE);
	close(shadow_fd);
	return kept_teardown(state);
}

static bool is_written(void *arg)
{
	return *(volatile char *)(bytes + *(uint64_t *)arg) ==
	       shadow[*(uint64_t *)arg];
}

static uint64_t passes(void)
{
	return atomic_load(&extent.page->passes);
}

static bool has_passed(void *arg)
{
	return passes() >= *(uint64_t *)arg;
}

static void keeper__what_differs_is_in_the_file_unasked(void **state)
{
	(void)state;
	acquire(PERIOD_MS, 90);
	attach();
	for (uint64_t i = 1; i <= 5; i++) {
		uint64_t at = i * 700 * PAGE + i;

		shadow[at] = 'x';
		wait_for(is_written, &at, "it is written back");
	}
	/* Nobody is told, nobody was asked: only that it was granted. */
	assert_int_equal(atomic_load(&keeper.board[0].generation), 1);
	assert_int_equal(keeper_state(&keeper, 0), RECALL_HELD);
}

/* Milliseconds are enough for a pass; off, none comes. */
static void keeper__switched_off_nothing_is_written(void **state)
{
	uint64_t before;

	(void)state;
	acquire(0, 90);
	attach();
	shadow[5 * PAGE] = 'x';
	usleep(300000);
	assert_int_equal(bytes[5 * PAGE], 0);
	before = passes();
	assert_int_equal(before, 0);
}

static void process_counts(unsigned long long *ret_ns,
			   unsigned long long *ret_runs)
{
	unsigned long long waited;
	char path[64];
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", keeper.pid);
	stat = fopen(path, "re");
	assert_non_null(stat);
	assert_int_equal(
		fscanf(stat, "%llu %llu %llu", ret_ns, &waited, ret_runs), 3);
	fclose(stat);
}

/* Passes that would take all of a CPU. Half as much again is for the rest. */
static void keeper__it_spends_its_share_of_a_cpu(void **state)
{
	unsigned long long before_ns, after_ns, runs;
	uint64_t begun, three;
	double start, spent;

	(void)state;
	memset(shadow, 1, SIZE);
	acquire(1, 10);
	attach();
	three = 1;
	wait_for(has_passed, &three, "all is written once");
	begun = passes();
	process_counts(&before_ns, &runs);
	start = now_sec();
	three = begun + 3;
	wait_for(has_passed, &three, "three passes");
	spent = now_sec() - start;
	while (spent < 1) {
		usleep(10000);
		spent = now_sec() - start;
	}
	process_counts(&after_ns, &runs);
	print_message("%.1f %% of a CPU, %ju passes in %.1f s\n",
		      (double)(after_ns - before_ns) / 1e7 / spent,
		      passes() - begun, spent);
	assert_true((double)(after_ns - before_ns) / 1e9 < 0.15 * spent);
}

static void keeper__break_in_the_middle_of_a_pass_does_not_wait(void **state)
{
	(void)state;
	memset(shadow, 1, SIZE);
	/* A pass takes minutes. */
	acquire(1, 1);
	attach();
	for (int i = 0; i < 5; i++) {
		int before = passes();

		shadow[PAGE * 4000 + 9] = (char)(i + 2);
		file_check_let_in(&file, O_RDONLY);
		assert_int_equal(bytes[PAGE * 4000 + 9], i + 2);
		assert_true(passes() > (uint64_t)before);
		kept_until(0, RECALL_YIELDED);
		kept_until(0, RECALL_HELD);
	}
}

/*
 * What it was at when it lost its shadows is over, however slow the machine,
 * and so is what it settles a second after the program has allocated.
 */
static bool is_at_rest(void *arg)
{
	unsigned long long ns, before, after;

	(void)arg;
	process_counts(&ns, &before);
	usleep(1300000);
	process_counts(&ns, &after);
	return after == before;
}

static void keeper__without_shadows_it_does_not_wake_up(void **state)
{
	unsigned long long ns, before, after;
	double start;

	(void)state;
	acquire(1, 50);
	attach();
	assert_int_equal(keeper_detach(&keeper, 0, 1, 0), 0);
	kept_fence();
	wait_for(is_at_rest, NULL, "it rests");
	process_counts(&ns, &before);
	for (start = now_sec(); now_sec() - start < 0.5;)
		usleep(10000);
	process_counts(&ns, &after);
	assert_int_equal(after - before, 0);
}

/*
 * It is stopped while the program asks it to let go, which gives up and stores
 * on; and the program is killed before a message that says so has room in the
 * socket. So there is none here.
 */
static void keeper__let_go_taken_back__it_goes_on_writing(void **state)
{
	struct keeper_message answer;
	uint64_t at = 7 * PAGE;

	(void)state;
	acquire(PERIOD_MS, 50);
	attach();
	assert_int_equal(kill(keeper.pid, SIGSTOP), 0);
	extent_begin_leave(&extent, 9);
	assert_int_equal(keeper_detach(&keeper, 0, 1, 9), 0);
	assert_true(extent_end_leave(&extent, 9));
	shadow[at] = 'x';
	assert_int_equal(kill(keeper.pid, SIGCONT), 0);
	answer = kept_receive(KEEPER_DETACHED);
	assert_int_equal(answer.ticket, 9);
	assert_int_equal(answer.error, -ECANCELED);
	wait_for(is_written, &at, "what was stored since is written");

	/* one that holds */
	extent_begin_leave(&extent, 10);
	assert_int_equal(keeper_detach(&keeper, 0, 1, 10), 0);
	assert_int_equal(kept_receive(KEEPER_DETACHED).error, 0);
	assert_false(extent_end_leave(&extent, 10));
}

static void keeper__program_changes_the_file_nothing_is_written(void **state)
{
	uint64_t before, at = 7 * PAGE;

	(void)state;
	acquire(PERIOD_MS, 90);
	attach();
	before = 2;
	wait_for(has_passed, &before, "it writes back");
	assert_int_equal(kept_ready(0, KEEPER_OWN_CHANGE), 0);
	before = passes();
	shadow[at] = 'x';
	usleep(200000);
	assert_int_equal(passes(), before);
	assert_int_equal(bytes[at], 0);
	assert_int_equal(keeper_own_end(&keeper, 0, KEEPER_OWN_CHANGE), 0);
	wait_for(is_written, &at, "it is written afterwards");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table__a_pass_each_period_and_nothing_is_told),
		cmocka_unit_test(table__changes_by_others_do_not_put_it_off),
		cmocka_unit_test(table__off_or_nothing_to_flush_nothing_is_due),
		cmocka_unit_test(table__yielded_or_lost_nothing_is_written),
		cmocka_unit_test(
			table__broken_in_a_pass_the_next_piece_is_the_breaks),
		cmocka_unit_test(
			table__broken_unheard_it_is_found_between_pieces),
		cmocka_unit_test(
			table__demanded_in_a_pass_it_comes_first_and_anew),
		cmocka_unit_test(table__an_error_is_told_once_and_tried_again),
		cmocka_unit_test(table__an_error_is_tried_again_with_pauses),
		cmocka_unit_test(table__a_merge_that_fails_does_not_hold_it_up),
		cmocka_unit_test(table__pieces_come_as_the_pace_allows),
		TEST(keeper__what_differs_is_in_the_file_unasked),
		TEST(keeper__switched_off_nothing_is_written),
		TEST(keeper__it_spends_its_share_of_a_cpu),
		TEST(keeper__break_in_the_middle_of_a_pass_does_not_wait),
		TEST(keeper__without_shadows_it_does_not_wake_up),
		TEST(keeper__let_go_taken_back__it_goes_on_writing),
		TEST(keeper__program_changes_the_file_nothing_is_written),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
