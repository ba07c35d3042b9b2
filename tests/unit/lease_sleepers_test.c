/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that sleep at process-shared futexes in a range while a shadow takes
 * the file's place, and the file the shadow's: who is to wake them finds them.
 * Where that cannot be, nothing is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lease_stage.h"
#include "reason.h"
#include "sleepers.h"
#include "unit.h"

#define PAGES  20UL
#define LENGTH (PAGES * PAGE)
#define TURNS  20U
#define SWAPS  20

/* What lies in the file. */
struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	uint64_t turns;
	atomic_uint word;
};

static struct lease_engine *engine;
static struct file file;
static char *map;
static struct shared *shared; /* in a page that is not the first */
static pthread_t sleeper;
static atomic_bool is_awake;
static bool is_over; /* of the mutex */

static void make_shared(int protocol)
{
	pthread_mutexattr_t mutex;
	pthread_condattr_t cond;

	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	assert_int_equal(pthread_mutexattr_setprotocol(&mutex, protocol), 0);
	pthread_condattr_init(&cond);
	pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
	shared = (struct shared *)(map + 5 * PAGE + 192);
	memset(shared, 0, sizeof(*shared));
	assert_int_equal(pthread_mutex_init(&shared->mutex, &mutex), 0);
	assert_int_equal(pthread_cond_init(&shared->cond, &cond), 0);
	atomic_store(&is_awake, false);
}

static int set_up(void **state)
{
	struct lease_config config = {.keeper_path = KEEPER_PATH};

	(void)state;
	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	make_shared(PTHREAD_PRIO_NONE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

/* Not from the file's beginning: places in file and shadow differ. */
static struct lease *stage(void)
{
	return stage_range(engine, file.fd, F_WRLCK, PAGE, LENGTH - PAGE);
}

static void unstage(struct lease *lease)
{
	unstage_range(lease, PAGE, LENGTH - PAGE);
}

static int is_in_range(const struct sleeper *at, void *arg)
{
	(void)arg;
	return at->addr >= (uintptr_t)map && at->addr < (uintptr_t)map + LENGTH;
}

static bool sleeps(void *arg)
{
	return sleepers_each(SLEEPERS_FREE, is_in_range, arg) == 1;
}

static void start_sleeper(void *(*sleep)(void *))
{
	assert_int_equal(pthread_create(&sleeper, NULL, sleep, NULL), 0);
	wait_for(sleeps, NULL, "a thread sleeps in the range");
}

static bool has_woken(void *arg)
{
	(void)arg;
	return atomic_load(&is_awake);
}

static void end_sleeper(void)
{
	wait_for(has_woken, NULL, "the thread is woken");
	pthread_join(sleeper, NULL);
	atomic_store(&is_awake, false);
}

static void *wait_for_mutex(void *arg)
{
	pthread_mutex_lock(&shared->mutex);
	pthread_mutex_unlock(&shared->mutex);
	atomic_store(&is_awake, true);
	return arg;
}

static void *wait_for_cond(void *arg)
{
	pthread_mutex_lock(&shared->mutex);
	while (!shared->turns)
		pthread_cond_wait(&shared->cond, &shared->mutex);
	shared->turns = 0;
	pthread_mutex_unlock(&shared->mutex);
	atomic_store(&is_awake, true);
	return arg;
}

static void signal_cond(void)
{
	pthread_mutex_lock(&shared->mutex);
	shared->turns = 1;
	pthread_cond_signal(&shared->cond);
	pthread_mutex_unlock(&shared->mutex);
}

static void *wait_for_word(void *arg)
{
	while (!atomic_load(&shared->word))
		syscall(SYS_futex, &shared->word, FUTEX_WAIT_BITSET, 0, NULL,
			NULL, 4);
	atomic_store(&is_awake, true);
	return arg;
}

/* The second of two words. */
static void wait_for_list(struct futex_waitv *waits)
{
	static atomic_uint other;

	waits[0] = (struct futex_waitv){.uaddr = (uintptr_t)&other,
					.flags = FUTEX_32};
	waits[1] = (struct futex_waitv){.uaddr = (uintptr_t)&shared->word,
					.flags = FUTEX_32};
	while (!atomic_load(&shared->word))
		syscall(SYS_futex_waitv, waits, 2, 0, NULL, 0);
	atomic_store(&is_awake, true);
}

static void *wait_for_any(void *arg)
{
	struct futex_waitv waits[2];

	wait_for_list(waits);
	return arg;
}

static void *wait_for_any_of_a_list_in_the_range(void *arg)
{
	wait_for_list((struct futex_waitv *)(map + 9 * PAGE));
	return arg;
}

static void set_word(void)
{
	atomic_store(&shared->word, 1);
	syscall(SYS_futex, &shared->word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 4);
}

static void mutex__is_handed_on_across_both_swaps(void **state)
{
	struct lease *lease;

	(void)state;
	pthread_mutex_lock(&shared->mutex);
	start_sleeper(wait_for_mutex);
	lease = stage();
	pthread_mutex_unlock(&shared->mutex);
	end_sleeper();
	pthread_mutex_lock(&shared->mutex);
	start_sleeper(wait_for_mutex);
	unstage(lease);
	pthread_mutex_unlock(&shared->mutex);
	end_sleeper();
}

static void cond__is_signaled_across_both_swaps(void **state)
{
	struct lease *lease;

	(void)state;
	start_sleeper(wait_for_cond);
	lease = stage();
	signal_cond();
	end_sleeper();
	start_sleeper(wait_for_cond);
	unstage(lease);
	signal_cond();
	end_sleeper();
}

static void check_word(void *(*sleep)(void *))
{
	struct lease *lease;

	start_sleeper(sleep);
	lease = stage();
	set_word();
	end_sleeper();
	atomic_store(&shared->word, 0);
	start_sleeper(sleep);
	unstage(lease);
	set_word();
	end_sleeper();
}

static void word__is_woken_across_both_swaps(void **state)
{
	(void)state;
	check_word(wait_for_word);
}

static void one_of_several_words__is_woken_across_both_swaps(void **state)
{
	(void)state;
	check_word(wait_for_any);
}

/* Whoever reads the list while the range is trapped waits for itself. */
static void list_of_words__in_the_range_is_woken_across_both_swaps(void **state)
{
	(void)state;
	check_word(wait_for_any_of_a_list_in_the_range);
}

/* Only its owner can wake who waits for it. */
static void pi_mutex__that_is_waited_for_is_refused(void **state)
{
	struct lease *lease = NULL;

	(void)state;
	make_shared(PTHREAD_PRIO_INHERIT);
	pthread_mutex_lock(&shared->mutex);
	start_sleeper(wait_for_mutex);
	assert_int_equal(acquire_range(engine, file.fd, F_WRLCK, PAGE,
				       LENGTH - PAGE, &lease),
			 0);
	assert_int_equal(lease_stage(lease, PAGE, LENGTH - PAGE), -EOPNOTSUPP);
	assert_non_null(strstr(reason_text(), "PTHREAD_PRIO_INHERIT"));
	assert_true(stage_is_file_at(&file, map + PAGE));
	assert_int_equal(lease_release(lease, PAGE, LENGTH - PAGE, INT64_MAX),
			 0);
	pthread_mutex_unlock(&shared->mutex);
	end_sleeper();
}

static bool is_file(void *arg)
{
	return stage_is_file_at(&file, arg) && !file_lease_holder(&file);
}

static void pi_mutex__that_is_waited_for_keeps_the_shadow(void **state)
{
	struct lease *lease;
	char was, is;

	(void)state;
	make_shared(PTHREAD_PRIO_INHERIT);
	lease = stage();
	assert_int_equal(pread(file.fd, &was, 1, (off_t)(9 * PAGE)), 1);
	pthread_mutex_lock(&shared->mutex);
	start_sleeper(wait_for_mutex);
	map[9 * PAGE] = (char)(was + 1);
	assert_int_equal(lease_unstage(lease, PAGE, LENGTH - PAGE),
			 -EOPNOTSUPP);
	/* It is tried again and again: not at the price of a flush. */
	assert_int_equal(pread(file.fd, &is, 1, (off_t)(9 * PAGE)), 1);
	assert_int_equal(is, was);
	assert_non_null(strstr(reason_text(), "PTHREAD_PRIO_INHERIT"));
	assert_int_equal(lease_release(lease, PAGE, LENGTH - PAGE, INT64_MAX),
			 -EAGAIN);
	assert_false(stage_is_file_at(&file, map + PAGE));
	pthread_mutex_unlock(&shared->mutex);
	end_sleeper();
	wait_for(is_file, map + PAGE, "the file is mapped back");
}

/* Two that hand each other the turn, at any moment of many swaps. */
static void *take_turns(void *arg)
{
	uint64_t mine = (uintptr_t)arg;

	pthread_mutex_lock(&shared->mutex);
	while (!is_over) {
		while (shared->turns % 2 != mine && !is_over)
			pthread_cond_wait(&shared->cond, &shared->mutex);
		shared->turns++;
		pthread_cond_signal(&shared->cond);
	}
	pthread_mutex_unlock(&shared->mutex);
	return NULL;
}

static uint64_t turns_taken(void)
{
	uint64_t turns;

	pthread_mutex_lock(&shared->mutex);
	turns = shared->turns;
	pthread_mutex_unlock(&shared->mutex);
	return turns;
}

static bool has_gone_on(void *arg)
{
	return turns_taken() > *(uint64_t *)arg + TURNS;
}

static void turns__go_on_through_many_swaps(void **state)
{
	pthread_t threads[2];
	uint64_t before;

	(void)state;
	is_over = false;
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < SWAPS; i++) {
		struct lease *lease = stage();

		before = turns_taken();
		wait_for(has_gone_on, &before, "turns go on in the shadow");
		unstage(lease);
		before = turns_taken();
		wait_for(has_gone_on, &before, "turns go on in the file");
	}
	pthread_mutex_lock(&shared->mutex);
	is_over = true;
	pthread_cond_broadcast(&shared->cond);
	pthread_mutex_unlock(&shared->mutex);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		test(mutex__is_handed_on_across_both_swaps),
		test(cond__is_signaled_across_both_swaps),
		test(word__is_woken_across_both_swaps),
		test(one_of_several_words__is_woken_across_both_swaps),
		test(list_of_words__in_the_range_is_woken_across_both_swaps),
		test(pi_mutex__that_is_waited_for_is_refused),
		test(pi_mutex__that_is_waited_for_keeps_the_shadow),
		test(turns__go_on_through_many_swaps),
	};

	return stage_cannot_trap() ? 77
				   : cmocka_run_group_tests(tests, NULL, NULL);
}
