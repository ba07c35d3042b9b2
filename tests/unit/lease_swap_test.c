/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow and file change places under threads that store all the time: not one
 * store is lost, nobody sees a page that isn't filled.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_file.h"
#include "heap.h"
#include "lease_stage.h"
#include "reason.h"
#include "extent_book.h"
#include "sleepers.h"
#include "swap.h"
#include "unit.h"

#define LENGTH	  (5UL << 20) /* not whole chunks */
#define WORDS	  (LENGTH / sizeof(uint64_t))
#define WRITERS	  3
#define SWAPS	  12
#define MOVES_SEC 100 /* for so many of them, on a machine that is busy */
#define READS	  32  /* of 64 KiB, for a piece that is let go */
#define VIEWS_MAX 2

/*
 * Reading the file fails, the how-manieth time; 0: never. As it is where a page
 * of it is broken, its mappings cannot be read then. Linked with --wrap.
 */
static atomic_int fail_read;
/* Read calls, where a shadow is not filled from the file's mappings. */
static atomic_uint reads;

long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_pwrite64 && c > 65536 && atomic_load(&fail_read)) {
		errno = EFAULT;
		return -1;
	}
	if (number == SYS_pread64)
		atomic_fetch_add(&reads, 1);
	if (number == SYS_pread64 && atomic_load(&fail_read) &&
	    atomic_fetch_sub(&fail_read, 1) == 1) {
		errno = EIO;
		return -1;
	}
	return __real_syscall(number, a, b, c, d, e, f);
}

/* What the engine's thread and the thread that asks it share. */
struct stage {
	struct file file;
	int shadow;
	uint8_t *bytes; /* of it */
	struct extent_shelf shelf;
	char *map[VIEWS_MAX];
	struct extent extent;
	struct swap_view views[VIEWS_MAX];
	struct swap swap;
	atomic_uint moves_asked;
	struct swap_view *view;
	atomic_int moved;
	int refuse_move; /* the how-manieth fails; 0: none */
	pthread_t waiter;
};

static void ask_move(void *arg, struct swap_view *view)
{
	struct stage *stage = arg;

	stage->view = view;
	atomic_store(&stage->moved, -EINPROGRESS);
	atomic_fetch_add(&stage->moves_asked, 1);
}

static int what_of_move(void *arg)
{
	return atomic_load(&((struct stage *)arg)->moved);
}

/* Nobody carries this shadow. */
static int let_go(void *arg)
{
	(void)arg;
	return 0;
}

static const struct swap_ops ops_of_test = {
	.move = ask_move,
	.moved = what_of_move,
	.let_go = let_go,
};

static void make_shadow(struct stage *stage)
{
	stage->shadow = memfd_create("shadow", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(stage->shadow, LENGTH), 0);
	stage->bytes = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
			    stage->shadow, 0);
	assert_true(stage->bytes != MAP_FAILED);
	assert_int_equal(munlock(stage->bytes, LENGTH), 0);
	assert_int_equal(extent_new(&stage->shelf, 0, LENGTH, &stage->extent),
			 0);
}

/* The views are what smaps says of the file. */
static void set_up(struct stage *stage, struct swap_ops *ops,
		   unsigned int views)
{
	struct mapping_state *states;
	struct stat st;
	size_t count;

	memset(stage, 0, sizeof(*stage));
	file_make(&stage->file, LENGTH);
	make_shadow(stage);
	for (unsigned int i = 0; i < views; i++) {
		stage->map[i] = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
				     MAP_SHARED, stage->file.fd, 0);
		assert_true(stage->map[i] != MAP_FAILED);
	}
	assert_int_equal(fstat(stage->file.fd, &st), 0);
	assert_int_equal(mapping_all(st.st_dev, st.st_ino, &states, &count), 0);
	assert_int_equal(count, views);
	for (unsigned int i = 0; i < views; i++)
		stage->views[i].state = states[i];
	heap_put(states);
	*ops = ops_of_test;
	ops->arg = stage;
	stage->swap = (struct swap){
		.ops = ops,
		.file_fd = stage->file.fd,
		.shadow_fd = stage->shadow,
		.shadow_bytes = stage->bytes,
		.view_fd = stage->shadow,
		.extent = &stage->extent,
		.views = stage->views,
		.count = views,
	};
}

static void tear_down(struct stage *stage)
{
	for (unsigned int i = 0; i < stage->swap.count; i++)
		munmap(stage->map[i], LENGTH);
	extent_free(&stage->shelf, &stage->extent);
	munmap(stage->bytes, LENGTH);
	close(stage->shadow);
	file_remove(&stage->file);
}

/* As the keeper will: all of it. */
static int flush(void *arg)
{
	struct stage *stage = arg;
	char *from =
		mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, stage->shadow, 0);
	ssize_t n = pwrite(stage->file.fd, from, LENGTH, 0);

	munmap(from, LENGTH);
	return n == (ssize_t)LENGTH ? 0 : -EIO;
}

static int fail_to_flush(void *arg)
{
	(void)arg;
	return -ENOSPC;
}

struct job {
	struct stage *stage;
	int (*flush)(void *arg); /* NULL: in */
	int result;
	atomic_bool is_done;
	char reason[REASON_MAX];
};

static void *engine(void *arg)
{
	struct job *job = arg;

	/* As the engine: what the program closes is not ours. */
	if (unshare(CLONE_FILES))
		job->result = -errno;
	else if (job->flush)
		job->result =
			swap_out(&job->stage->swap, job->flush, job->stage);
	else
		job->result = swap_in(&job->stage->swap);
	snprintf(job->reason, sizeof(job->reason), "%s", reason_text());
	atomic_store(&job->is_done, true);
	return NULL;
}

static int run(struct stage *stage, int (*fn)(void *arg))
{
	struct job job = {.stage = stage, .flush = fn};
	unsigned int done = atomic_load(&stage->moves_asked);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, engine, &job), 0);
	while (!atomic_load(&job.is_done)) {
		if (atomic_load(&stage->moves_asked) == done) {
			sched_yield();
			continue;
		}
		done++;
		if (stage->refuse_move == (int)done) {
			atomic_store(&stage->moved, -ENOMEM);
			continue;
		}
		atomic_store(&stage->moved, swap_move(stage->view));
	}
	pthread_join(thread, NULL);
	reason_set(0, "%s", job.reason);
	return job.result;
}

static int swap_in_now(struct stage *stage)
{
	return run(stage, NULL);
}

static int swap_out_now(struct stage *stage)
{
	return run(stage, flush);
}

/*
 * Each writer has every WRITERS-th word and stores 1, 2, 3... one word after
 * the other; before each store the word must hold what it stored there last.
 */
struct writer {
	pthread_t thread;
	_Atomic uint64_t *words;
	unsigned int first;
	atomic_bool *stop;
	uint64_t stores;
	uint64_t wrong;
};

static size_t words_of(const struct writer *writer)
{
	return (WORDS - writer->first + WRITERS - 1) / WRITERS;
}

/* The last number that was stored in the i-th of `words`, of n in all. */
static uint64_t expected(uint64_t i, uint64_t n, uint64_t words)
{
	return i >= n ? 0 : (n - 1 - i) / words * words + i + 1;
}

static void *write_all_the_time(void *arg)
{
	struct writer *writer = arg;
	size_t words = words_of(writer);

	while (!atomic_load_explicit(writer->stop, memory_order_relaxed)) {
		uint64_t i = writer->stores % words;
		_Atomic uint64_t *at =
			&writer->words[i * WRITERS + writer->first];
		uint64_t was = atomic_load_explicit(at, memory_order_relaxed);

		writer->wrong += was != expected(i, writer->stores, words);
		atomic_store_explicit(at, ++writer->stores,
				      memory_order_relaxed);
	}
	return NULL;
}

static void start_writers(struct writer *writers, struct stage *stage,
			  atomic_bool *stop)
{
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){
			/* each alias has its writers */
			.words = (void *)stage->map[i % stage->swap.count],
			.first = i,
			.stop = stop,
		};
		assert_int_equal(pthread_create(&writers[i].thread, NULL,
						write_all_the_time,
						&writers[i]),
				 0);
	}
}

/* Of the file or the shadow. */
static void check_bytes(struct writer *writers, int fd)
{
	const uint64_t *words =
		mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0);

	assert_true(words != MAP_FAILED);
	for (unsigned int w = 0; w < WRITERS; w++) {
		size_t count = words_of(&writers[w]);

		assert_int_equal(writers[w].wrong, 0);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(words[i * WRITERS + w],
					 expected(i, writers[w].stores, count));
	}
	munmap((void *)words, LENGTH);
}

static void stop_writers(struct writer *writers, atomic_bool *stop)
{
	atomic_store(stop, true);
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
}

static void swap_many_times(unsigned int views)
{
	struct writer writers[WRITERS];
	atomic_bool stop = false;
	struct stage stage;
	struct swap_ops ops;

	set_up(&stage, &ops, views);
	start_writers(writers, &stage, &stop);
	for (int i = 0; i < SWAPS; i++) {
		assert_int_equal(swap_in_now(&stage), 0);
		usleep(1000);
		assert_int_equal(swap_out_now(&stage), 0);
		usleep(1000);
	}
	stop_writers(writers, &stop);
	check_bytes(writers, stage.file.fd);
	tear_down(&stage);
}

static void swap__threads_store_none_is_lost(void **state)
{
	(void)state;
	swap_many_times(1);
}

static void swap__two_mappings_stay_one_memory(void **state)
{
	(void)state;
	swap_many_times(2);
}

static void swap__everything_is_locked_none_is_lost(void **state)
{
	(void)state;
	if (mlockall(MCL_FUTURE))
		fail_msg("mlockall: %s", strerror(errno));
	swap_many_times(2);
	munlockall();
}

/* Swaps in and out until it is told to stop. */
struct swapper {
	struct stage *stage;
	atomic_bool stop;
	atomic_int error;
	double deadline;
};

/* As long as it may go on, and has to. */
static bool goes_on(struct swapper *swapper, unsigned int moves)
{
	return !atomic_load(&swapper->error) &&
	       atomic_load(&swapper->stage->moves_asked) < moves &&
	       now_sec() < swapper->deadline;
}

static void *swap_all_the_time(void *arg)
{
	struct swapper *swapper = arg;

	while (!atomic_load(&swapper->stop) && !swapper->error) {
		swapper->error = swap_in_now(swapper->stage);
		if (!swapper->error)
			swapper->error = swap_out_now(swapper->stage);
	}
	return NULL;
}

static void *pump(void *arg)
{
	int fd = *(int *)arg;

	for (uint64_t n = 1; write(fd, &n, sizeof(n)) == sizeof(n); n++)
		;
	return NULL;
}

/* A read() whose buffer is swapped under it waits, and loses no byte. */
static void swap__system_calls_into_the_range_lose_nothing(void **state)
{
	struct swapper swapper = {0};
	pthread_t pumping, swapping;
	struct stage stage;
	struct swap_ops ops;
	int ends[2];
	uint64_t n = 0;
	sigset_t pipe;

	(void)state;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	set_up(&stage, &ops, 1);
	swapper.stage = &stage;
	swapper.deadline = now_sec() + MOVES_SEC;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pthread_create(&pumping, NULL, pump, &ends[1]);
	pthread_create(&swapping, NULL, swap_all_the_time, &swapper);
	while (goes_on(&swapper, SWAPS) || n < 4 * WORDS) {
		volatile uint64_t *at =
			(void *)(stage.map[0] + n % WORDS * sizeof(*at));

		assert_int_equal(read(ends[0], (void *)at, sizeof(*at)),
				 sizeof(*at));
		n++;
		assert_int_equal(*at, n);
	}
	atomic_store(&swapper.stop, true);
	pthread_join(swapping, NULL);
	assert_int_equal(swapper.error, 0);
	assert_true(atomic_load(&stage.moves_asked) >= SWAPS);
	close(ends[0]);
	pthread_join(pumping, NULL);
	close(ends[1]);
	tear_down(&stage);
}

/* close_range(3, ~0) in the program: nothing of a swap is in its table. */
static void swap__closing_everything_meanwhile_harms_nothing(void **state)
{
	struct swapper swapper = {0};
	struct stage stage;
	struct swap_ops ops;
	pid_t child;
	int status;

	(void)state;
	set_up(&stage, &ops, 1);
	child = fork();
	if (!child) {
		pthread_t swapping;
		int fd = stage.file.fd;

		/* The stage's own descriptors are the caller's to keep. */
		if (dup2(fd, 3) != 3 || dup2(stage.shadow, 4) != 4)
			_exit(2);
		stage.file.fd = stage.swap.file_fd = 3;
		stage.shadow = stage.swap.shadow_fd = 4;
		stage.swap.view_fd = 4;
		/* The book is the parent's alone. */
		stage.shelf.first = NULL;
		if (extent_new(&stage.shelf, 0, LENGTH, &stage.extent))
			_exit(5);
		swapper.stage = &stage;
		swapper.deadline = now_sec() + MOVES_SEC;
		if (pthread_create(&swapping, NULL, swap_all_the_time,
				   &swapper))
			_exit(3);
		while (goes_on(&swapper, SWAPS))
			if (close_range(5, ~0U, 0))
				_exit(4);
		atomic_store(&swapper.stop, true);
		pthread_join(swapping, NULL);
		_exit(swapper.error || atomic_load(&stage.moves_asked) < SWAPS);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	tear_down(&stage);
}

#define NOT_THERE 2

static void end_child(int signal)
{
	(void)signal;
	_exit(NOT_THERE);
}

/* A child that is forked meanwhile has all the bytes or none of the range. */
static void swap__a_child_forked_meanwhile_sees_no_empty_page(void **state)
{
	struct swapper swapper = {0};
	pthread_t swapping;
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 1);
	memset(stage.map[0], 0x5a, LENGTH);
	swapper.stage = &stage;
	swapper.deadline = now_sec() + MOVES_SEC;
	pthread_create(&swapping, NULL, swap_all_the_time, &swapper);
	while (goes_on(&swapper, 2 * SWAPS)) {
		pid_t child = fork();
		int status;

		if (!child) {
			/* There, and then right; or a fault: not there. */
			signal(SIGSEGV, end_child);
			for (size_t i = 0; i < LENGTH; i += PAGE)
				if (stage.map[0][i] != 0x5a)
					_exit(1);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_true(WEXITSTATUS(status) == 0 ||
			    WEXITSTATUS(status) == NOT_THERE);
	}
	atomic_store(&swapper.stop, true);
	pthread_join(swapping, NULL);
	assert_int_equal(swapper.error, 0);
	assert_true(atomic_load(&stage.moves_asked) >= SWAPS);
	tear_down(&stage);
}

static void swap__a_move_is_refused_everything_is_as_before(void **state)
{
	struct writer writers[WRITERS];
	atomic_bool stop = false;
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 2);
	start_writers(writers, &stage, &stop);
	for (int i = 0; i < SWAPS; i++) {
		stage.refuse_move =
			(int)atomic_load(&stage.moves_asked) + 1 + i % 2;
		assert_int_equal(swap_in_now(&stage), -ENOMEM);
		assert_non_null(strstr(reason_text(), "max_map_count"));
	}
	stop_writers(writers, &stop);
	check_bytes(writers, stage.file.fd);
	tear_down(&stage);
}

/*
 * The first one is locked as it is touched, the other one whole; of DAX none
 * is (mlock_fixup() in mm/mlock.c), whatever mlock2() answers.
 */
static void check_locked(const struct stage *stage)
{
	bool is_dax = getenv("DAXMR_TEST_DAX_DIR");
	struct mapping_state state;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			mapping_state_at((uintptr_t)stage->map[i], &state), 0);
		assert_int_equal(mapping_has(&state, "lo"), !is_dax);
		assert_int_equal(mapping_has(&state, "lf"), !is_dax && i == 0);
	}
}

static void swap__a_move_is_refused_what_was_locked_is(void **state)
{
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 2);
	assert_int_equal(mlock2(stage.map[0], LENGTH, MLOCK_ONFAULT), 0);
	assert_int_equal(mlock2(stage.map[1], LENGTH, 0), 0);
	for (int i = 0; i < 2; i++) {
		uintptr_t addr = stage.views[i].state.mapping.start;

		assert_int_equal(mapping_state_at(addr, &stage.views[i].state),
				 0);
	}
	check_locked(&stage);
	for (int i = 0; i < 2; i++) {
		stage.refuse_move =
			(int)atomic_load(&stage.moves_asked) + 1 + i;
		assert_int_equal(swap_in_now(&stage), -ENOMEM);
		check_locked(&stage);
	}
	stage.refuse_move = 0;
	assert_int_equal(swap_in_now(&stage), 0);
	check_locked(&stage);
	assert_int_equal(swap_out_now(&stage), 0);
	check_locked(&stage);
	tear_down(&stage);
}

static void swap__the_file_cannot_be_read_everything_is_as_before(void **state)
{
	struct writer writers[WRITERS];
	atomic_bool stop = false;
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 1);
	start_writers(writers, &stage, &stop);
	/* At once, and when pieces of 2 MiB have been stored to. */
	for (int i = 0; i < SWAPS; i++) {
		atomic_store(&fail_read, 1 + i % 3 * READS);
		assert_int_equal(swap_in_now(&stage), -EIO);
		assert_int_equal(atomic_load(&fail_read), 0);
	}
	stop_writers(writers, &stop);
	check_bytes(writers, stage.file.fd);
	tear_down(&stage);
}

static void swap__a_flush_fails_the_shadow_stays(void **state)
{
	struct writer writers[WRITERS];
	atomic_bool stop = false;
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 2);
	start_writers(writers, &stage, &stop);
	assert_int_equal(swap_in_now(&stage), 0);
	for (int i = 0; i < SWAPS; i++)
		assert_int_equal(run(&stage, fail_to_flush), -ENOSPC);
	stop_writers(writers, &stop);
	check_bytes(writers, stage.shadow);
	tear_down(&stage);
}

static void *wait_for_mutex(void *arg)
{
	pthread_mutex_lock(arg);
	pthread_mutex_unlock(arg);
	return NULL;
}

static int is_pi(const struct sleeper *sleeper, void *arg)
{
	(void)arg;
	return sleeper->is_pi;
}

/* It has been looked for already. */
static void wait_and_ask_move(void *arg, struct swap_view *view)
{
	struct stage *stage = arg;
	void *mutex = stage->map[0];

	assert_int_equal(
		pthread_create(&stage->waiter, NULL, wait_for_mutex, mutex), 0);
	while (sleepers_each(SLEEPERS_FREE, is_pi, NULL) != 1)
		sched_yield();
	ask_move(arg, view);
}

static void swap__who_inherits_priority_comes_late_nothing_changes(void **state)
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t *mutex;
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 1);
	ops.move = wait_and_ask_move;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	mutex = (pthread_mutex_t *)stage.map[0];
	assert_int_equal(pthread_mutex_init(mutex, &attributes), 0);
	pthread_mutex_lock(mutex);
	strcpy(stage.map[0] + LENGTH - 8, "before");
	assert_int_equal(swap_in_now(&stage), -EOPNOTSUPP);
	assert_non_null(strstr(reason_text(), "PTHREAD_PRIO_INHERIT"));
	assert_true(stage_is_file_at(&stage.file, stage.map[0]));
	assert_string_equal(stage.map[0] + LENGTH - 8, "before");
	pthread_mutex_unlock(mutex);
	pthread_join(stage.waiter, NULL);
	tear_down(&stage);
}

/* No trap where nobody is there who could fall into it. */
static void swap__one_thread_needs_no_trap(void **state)
{
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 2);
	stage.swap.is_still = true;
	strcpy(stage.map[0] + LENGTH - 8, "before");
	assert_int_equal(swap_in_now(&stage), 0);
	assert_int_equal(atomic_load(&stage.moves_asked), 0);
	assert_string_equal(stage.map[1] + LENGTH - 8, "before");
	strcpy(stage.map[1] + LENGTH - 8, "after");
	assert_int_equal(swap_out_now(&stage), 0);
	assert_string_equal(stage.map[0] + LENGTH - 8, "after");
	tear_down(&stage);
}

/* Each block's digest is of what the shadow has. */
static void check_digests(struct stage *stage)
{
	for (uint64_t i = 0; i < LENGTH / PAGE; i++)
		assert_true(
			atomic_load(&stage->extent.digests[i]) ==
			extent_digest(&stage->extent, stage->bytes + i * PAGE));
}

/* What the program's page tables have of the file needs no other way to it. */
static void swap__pages_that_are_there_are_not_read(void **state)
{
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	for (int is_alone = 0; is_alone < 2; is_alone++) {
		set_up(&stage, &ops, 2);
		stage.swap.is_still = stage.swap.is_alone = is_alone;
		for (size_t at = 0; at < LENGTH; at += PAGE)
			memcpy(stage.map[1] + at, &at, sizeof(at));
		atomic_store(&reads, 0);
		assert_int_equal(swap_in_now(&stage), 0);
		assert_int_equal(atomic_load(&reads), 0);
		for (size_t at = 0; at < LENGTH; at += PAGE)
			assert_memory_equal(stage.map[0] + at, &at, sizeof(at));
		check_digests(&stage);
		tear_down(&stage);
	}
}

/* What may not be read there is read all the same. */
static void swap__pages_of_no_right_are_read(void **state)
{
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 1);
	strcpy(stage.map[0] + LENGTH - 8, "before");
	assert_int_equal(mprotect(stage.map[0], LENGTH, PROT_NONE), 0);
	stage.views[0].state.mapping.protection = PROT_NONE;
	atomic_store(&reads, 0);
	assert_int_equal(swap_in_now(&stage), 0);
	assert_true(atomic_load(&reads) > 0);
	assert_string_equal((char *)stage.bytes + LENGTH - 8, "before");
	check_digests(&stage);
	tear_down(&stage);
}

/* A file that ends in the range: what is behind it is there, as zeroes. */
static void swap__the_file_ends_in_the_range(void **state)
{
	struct stage stage;
	struct swap_ops ops;

	(void)state;
	set_up(&stage, &ops, 1);
	memset(stage.map[0], 0x33, LENGTH);
	assert_int_equal(ftruncate(stage.file.fd, 3 * PAGE + 100), 0);
	assert_int_equal(swap_in_now(&stage), 0);
	check_digests(&stage);
	assert_int_equal(stage.map[0][3 * PAGE + 99], 0x33);
	assert_int_equal(stage.map[0][3 * PAGE + 100], 0);
	assert_int_equal(stage.map[0][LENGTH - 1], 0);
	assert_int_equal(swap_out_now(&stage), 0);
	tear_down(&stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(swap__threads_store_none_is_lost),
		cmocka_unit_test(swap__two_mappings_stay_one_memory),
		cmocka_unit_test(swap__everything_is_locked_none_is_lost),
		cmocka_unit_test(
			swap__system_calls_into_the_range_lose_nothing),
		cmocka_unit_test(
			swap__closing_everything_meanwhile_harms_nothing),
		cmocka_unit_test(
			swap__a_child_forked_meanwhile_sees_no_empty_page),
		cmocka_unit_test(
			swap__a_move_is_refused_everything_is_as_before),
		cmocka_unit_test(swap__a_move_is_refused_what_was_locked_is),
		cmocka_unit_test(
			swap__the_file_cannot_be_read_everything_is_as_before),
		cmocka_unit_test(
			swap__who_inherits_priority_comes_late_nothing_changes),
		cmocka_unit_test(swap__a_flush_fails_the_shadow_stays),
		cmocka_unit_test(swap__pages_that_are_there_are_not_read),
		cmocka_unit_test(swap__pages_of_no_right_are_read),
		cmocka_unit_test(swap__one_thread_needs_no_trap),
		cmocka_unit_test(swap__the_file_ends_in_the_range),
	};

	if (stage_cannot_trap())
		return 77;

	return cmocka_run_group_tests(tests, NULL, NULL);
}
