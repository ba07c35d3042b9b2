/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All at once: threads store known sequences, one maps, moves and unmaps parts
 * of the file, one gives advice, one punches, one cuts the file and lets it
 * grow, while shadows come and go. No store is lost, all mappings show the
 * same, and in the end the file is what the models say.
 *
 *   pages 0 to 12   word i of each page is thread i % 8's alone
 *   page 13         is punched
 *   pages 14, 15    are cut off and come again
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cannot_trap.h"
#include "own_lease.h"
#include "unit.h"

#define ROUNDS	45
#define STORERS 2
#define MOVER	7 /* the words of who moves mappings */
#define PAGES	13
#define IN_PAGE (PAGE / 8)
#define PUNCHED 13
#define CUT_OFF 14
#define OF_EACH (IN_PAGE / 8)
#define OF_ALL	(PAGES * OF_EACH)

static char *whole;
static atomic_bool is_over;
/* What was wrong, by who saw it. */
static _Atomic uint64_t lost, differs, not_punched, not_cut;

struct storer {
	unsigned int index; /* which words are its own */
	uint64_t stores;
	uint64_t model[PAGES][OF_EACH];
};

static bool goes_on(void)
{
	return !atomic_load_explicit(&is_over, memory_order_relaxed);
}

/* Of thread `index`, in a mapping of the file from `first` on. */
static _Atomic uint64_t *word_at(char *map, unsigned int first,
				 unsigned int page, unsigned int index,
				 unsigned int n)
{
	return (_Atomic uint64_t *)(map + (page - first) * PAGE) + n * 8 +
	       index;
}

static void store(struct storer *storer, char *map, unsigned int first,
		  unsigned int page, unsigned int n)
{
	_Atomic uint64_t *word = word_at(map, first, page, storer->index, n);

	if (atomic_load(word) != storer->model[page][n])
		atomic_fetch_add(&lost, 1);
	storer->model[page][n] = ++storer->stores;
	atomic_store(word, storer->stores);
}

static void *store_all_over(void *arg)
{
	struct storer *storer = arg;

	for (unsigned int i = 0; goes_on(); i++)
		store(storer, whole, 0, i % PAGES, i / PAGES % OF_EACH);
	return NULL;
}

/* Through a mapping of its own, that never is where it was. */
static void store_in_part(struct storer *storer, char *map, unsigned int first,
			  unsigned int pages)
{
	for (unsigned int page = first; page < first + pages; page++)
		for (unsigned int n = 0; n < OF_EACH; n += 7)
			store(storer, map, first, page, n);
}

/* What another thread stores is the same here, and there before and after. */
static void compare(char *map, unsigned int first, unsigned int pages)
{
	for (unsigned int page = first; page < first + pages; page++) {
		uint64_t before = atomic_load(word_at(whole, 0, page, 1, 3));
		uint64_t here = atomic_load(word_at(map, first, page, 1, 3));
		uint64_t after = atomic_load(word_at(whole, 0, page, 1, 3));

		if (here < before || here > after)
			atomic_fetch_add(&differs, 1);
	}
}

static void *move_about(void *arg)
{
	struct storer *storer = arg;
	unsigned int seed = 1;

	while (goes_on()) {
		unsigned int first = (unsigned int)rand_r(&seed) % 10;
		unsigned int pages = (unsigned int)rand_r(&seed) % 3 + 1;
		char *map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				 MAP_SHARED, own_fd, first * PAGE);
		char *again;

		assert_true(map != MAP_FAILED);
		store_in_part(storer, map, first, pages);
		compare(map, first, pages);
		map = mremap(map, pages * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
		assert_true(map != MAP_FAILED);
		store_in_part(storer, map, first, 3);
		again = mremap(map, 0, 2 * PAGE, MREMAP_MAYMOVE);
		assert_true(again != MAP_FAILED);
		compare(again, first, 2);
		store_in_part(storer, again, first, 2);
		assert_int_equal(mprotect(again, PAGE, PROT_READ), 0);
		compare(again, first, 2);
		assert_ptr_equal(mmap(again, 2 * PAGE, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_FIXED, own_fd,
				      first * PAGE),
				 again);
		store_in_part(storer, again, first, 2);
		assert_int_equal(munmap(map, 3 * PAGE), 0);
		assert_int_equal(munmap(again, 2 * PAGE), 0);
	}
	return NULL;
}

static void *advise(void *arg)
{
	static const int advice[] = {MADV_DONTNEED, MADV_COLD, MADV_DODUMP,
				     MADV_POPULATE_WRITE, MADV_RANDOM};

	for (unsigned int i = 0; goes_on(); i++) {
		int r = madvise(whole + i % PAGES * PAGE, 2 * PAGE,
				advice[i % 5]);

		/* while it is trapped */
		assert_true(!r || errno == EFAULT || errno == EINVAL);
		if (!(i % 50))
			usleep(1000);
	}
	return arg;
}

static void *punch(void *arg)
{
	_Atomic uint64_t *word = (void *)(whole + PUNCHED * PAGE + 800);

	for (uint64_t i = 1; goes_on(); i++) {
		atomic_store(word, i);
		if (atomic_load(word) != i)
			atomic_fetch_add(&not_punched, 1);
		assert_int_equal(
			madvise(whole + PUNCHED * PAGE, PAGE, MADV_REMOVE), 0);
		if (atomic_load(word))
			atomic_fetch_add(&not_punched, 1);
		usleep(500);
	}
	return arg;
}

static void *cut(void *arg)
{
	_Atomic uint64_t *word = (void *)(whole + CUT_OFF * PAGE + 800);

	for (uint64_t i = 1; goes_on(); i++) {
		if (atomic_load(word))
			atomic_fetch_add(&not_cut, 1);
		atomic_store(word, i);
		if (atomic_load(word) != i)
			atomic_fetch_add(&not_cut, 1);
		assert_int_equal(ftruncate(own_fd, CUT_OFF * PAGE), 0);
		assert_int_equal(ftruncate(own_fd, FILE_SIZE), 0);
		usleep(700);
	}
	return arg;
}

/* -EAGAIN: mappings of the file come and go, or it is not ours just now. */
static void stage_and_unstage(unsigned int first, unsigned int last)
{
	uint64_t offset = first * PAGE, length = (last - first) * PAGE;
	double deadline = own_now() + WAIT_SEC;
	int r;

	while ((r = own_engine->lease_stage(own_lease, offset, length)) ==
		       -EAGAIN &&
	       own_now() < deadline)
		;
	assert_int_equal(r, 0);
	usleep(300);
	r = own_engine->lease_unstage(own_lease, offset, length);
	assert_int_equal(r, 0);
}

static void check_file(const struct storer *storer, char *bytes)
{
	for (unsigned int page = 0; page < PAGES; page++)
		for (unsigned int n = 0; n < OF_EACH; n++)
			assert_int_equal(
				*word_at(bytes, 0, page, storer->index, n),
				storer->model[page][n]);
}

static void storm__no_store_is_lost(void **state)
{
	static struct storer storers[STORERS + 1];
	void *(*const others[])(void *) = {advise, punch, cut};
	char *bytes = aligned_alloc(PAGE, FILE_SIZE);
	pthread_t threads[STORERS + 4];
	unsigned int count = 0;

	(void)state;
	whole = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     own_fd, 0);
	assert_true(whole != MAP_FAILED);
	for (unsigned int i = 0; i <= STORERS; i++) {
		storers[i].index = i < STORERS ? i : MOVER;
		pthread_create(&threads[count++], NULL,
			       i < STORERS ? store_all_over : move_about,
			       &storers[i]);
	}
	for (unsigned int i = 0; i < 3; i++)
		pthread_create(&threads[count++], NULL, others[i], NULL);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		if (i % 3 == 0)
			stage_and_unstage(0, 16);
		else if (i % 3 == 1)
			stage_and_unstage(3, 9);
		else
			stage_and_unstage(5, 14);
	}
	atomic_store(&is_over, true);
	while (count)
		pthread_join(threads[--count], NULL);
	assert_int_equal(lost, 0);
	assert_int_equal(differs, 0);
	assert_int_equal(not_punched, 0);
	assert_int_equal(not_cut, 0);
	assert_int_equal(*own_engine->shadows, 0);
	assert_int_equal(pread(own_fd, bytes, FILE_SIZE, 0), FILE_SIZE);
	for (unsigned int i = 0; i <= STORERS; i++) {
		check_file(&storers[i], bytes);
		check_file(&storers[i], whole);
		assert_true(storers[i].stores > 0);
		print_message("thread %u: %llu stores\n", storers[i].index,
			      (unsigned long long)storers[i].stores);
	}
	free(bytes);
	munmap(whole, FILE_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(storm__no_store_is_lost,
						own_setup, own_teardown),
	};
	int r = own_cannot_lease();

	if (!r)
		r = cannot_trap();

#ifdef __SANITIZE_THREAD__
	print_message("ThreadSanitizer takes memory that is mapped anew past "
		      "it for what it was\n");
	r = 77;
#endif
	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
