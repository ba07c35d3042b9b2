/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The program moves memory by a mremap() that no hook has seen, at the moment
 * when whoever touches it is held up: its mremap() waits until it is heard of,
 * and nothing of ours may wait for that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lease_fake_keeper.h"
#include "lease_stage.h"
#include "trap.h"
#include "unit.h"

#define LENGTH (16UL * PAGE)

static char *from, *to;

static void *move(void *arg)
{
	assert_ptr_equal((void *)syscall(SYS_mremap, from, LENGTH, LENGTH,
					 MREMAP_MAYMOVE | MREMAP_FIXED, to),
			 to);
	return arg;
}

/* The kernel has moved it before it waits. */
static bool is_moved(void *arg)
{
	unsigned char there[LENGTH / PAGE];

	(void)arg;
	return syscall(SYS_mincore, from, LENGTH, there) && errno == ENOMEM;
}

static void start(pthread_t *thread, void *(*fn)(void *))
{
	assert_int_equal(pthread_create(thread, NULL, fn, NULL), 0);
}

/* Nobody else maps anything there. */
static void reserve_place(void)
{
	to = mmap(NULL, LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(to != MAP_FAILED);
}

static void let_go__of_what_is_being_moved__ends(void **state)
{
	int fd = memfd_create("moved", MFD_CLOEXEC);
	struct trap trap;
	pthread_t mover;

	(void)state;
	assert_int_equal(ftruncate(fd, LENGTH), 0);
	assert_int_equal(pwrite(fd, "moved", 5, 0), 5);
	reserve_place();
	from = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(from != MAP_FAILED);
	assert_int_equal(trap_open(UFFD_FULL, &trap), 0);
	assert_int_equal(trap_set(&trap, (uintptr_t)from, LENGTH), 0);
	start(&mover, move);
	wait_for(is_moved, NULL, "it is moved");
	assert_int_equal(trap_let_go(&trap, (uintptr_t)from, LENGTH), 0);
	assert_int_equal(pthread_join(mover, NULL), 0);
	trap_close(&trap);
	assert_memory_equal(to, "moved", 5);
	munmap(to, LENGTH);
	close(fd);
}

static bool is_let_go(void *arg)
{
	(void)arg;
	return fake_heard(KEEPER_DETACH) > 0;
}

static void *move_when_let_go(void *arg)
{
	wait_for(is_let_go, NULL, "the keeper is asked to let it go");
	return move(arg);
}

static void *answer_when_moved(void *arg)
{
	wait_for(is_moved, NULL, "it is moved");
	fake_go_on();
	return arg;
}

/* Between the flush and the moment when the file takes the shadow's place. */
static void unstage__of_what_is_moved_meanwhile__the_file_is_there(void **state)
{
	struct lease_config config = {.keeper_path = ""};
	struct lease_engine *engine;
	pthread_t mover, answerer;
	struct lease *lease;
	struct file file;

	(void)state;
	fake_start();
	config.keeper_socket = fake_path();
	file_make(&file, LENGTH);
	reserve_place();
	from = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	lease = stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
	assert_false(stage_is_file_at(&file, from));
	fake_stop_at(KEEPER_DETACH);
	start(&mover, move_when_let_go);
	start(&answerer, answer_when_moved);
	assert_int_equal(lease_unstage(lease, 0, LENGTH), 0);
	assert_int_equal(pthread_join(mover, NULL), 0);
	assert_int_equal(pthread_join(answerer, NULL), 0);
	assert_true(stage_is_file_at(&file, to));
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	lease_engine_stop(engine);
	munmap(to, LENGTH);
	file_remove(&file);
	fake_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(let_go__of_what_is_being_moved__ends),
		cmocka_unit_test(
			unstage__of_what_is_moved_meanwhile__the_file_is_there),
	};
	int r = file_cannot_lease();

	if (!r)
		r = stage_cannot_trap();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
