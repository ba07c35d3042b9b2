/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is not the program's: heap.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "unit.h"

#define THREADS 4
#define BLOCKS	64
#define LARGE	(8UL << 20)
#define PAGE	4096UL

static void blocks__are_zeroed_aligned_and_used_again(void **state)
{
	(void)state;
	for (size_t size = 0; size < 200000; size = 2 * size + 1) {
		char *block = heap_get(1, size), *again;

		assert_non_null(block);
		assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(block[i], 0);
		memset(block, 0x5a, size);
		heap_put(block);
		again = heap_get(1, size);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(again[i], 0);
		heap_put(again);
	}
	heap_put(NULL);
}

#if !defined(__SANITIZE_ADDRESS__)
/* The engine's tables have room for far more than most programs lease. */
static void large__takes_no_memory_until_it_is_touched(void **state)
{
	unsigned char there[LARGE / PAGE];
	unsigned int touched = 0;
	char *block = heap_get(LARGE, 1);
	char *first = block + (PAGE - (uintptr_t)block % PAGE);

	(void)state;
	assert_non_null(block);
	block[LARGE / 2] = 1;
	assert_int_equal(mincore(first, LARGE - PAGE, there), 0);
	for (size_t i = 0; i < LARGE / PAGE - 1; i++)
		touched += there[i] & 1;
	assert_int_equal(touched, 1);
	heap_put(block);
}
#endif

static void more__keeps_what_was_there(void **state)
{
	unsigned int *list = NULL;

	(void)state;
	for (unsigned int count = 1; count < 50000; count++) {
		if (!(count & (count - 1))) {
			list = heap_more(list, 2UL * count, sizeof(*list));
			assert_non_null(list);
		}
		list[count] = count;
	}
	for (unsigned int i = 1; i < 50000; i++)
		assert_int_equal(list[i], i);
	heap_put(list);
}

static void too_much__is_refused_and_the_old_stays(void **state)
{
	/* no constants, which the compiler would find */
	volatile size_t most = SIZE_MAX, half = SIZE_MAX / 2 + 2;
	char *block = heap_text("as it was");

	(void)state;
#if defined(__SANITIZE_ADDRESS__)
	print_message("AddressSanitizer ends who asks for that much\n");
	heap_put(block);
	skip();
#endif
	assert_null(heap_get(1, most));
	assert_null(heap_get(half, 2));
	assert_null(heap_more(block, half, 2));
	assert_string_equal(block, "as it was");
	heap_put(block);
}

static atomic_bool is_over;

/* Whoever else had a block of these would have changed it. */
static void *get_and_put(void *arg)
{
	unsigned char *blocks[BLOCKS] = {0},
		      mark = (unsigned char)(intptr_t)arg;

	for (unsigned int i = 0; !atomic_load(&is_over); i++) {
		unsigned char **at = &blocks[i * 7 % BLOCKS];
		size_t size = 1 + i * 37 % 900;

		if (*at && ((*at)[0] != mark || (*at)[1] != mark))
			return arg;
		heap_put(*at);
		*at = heap_get(2, size);
		if (!*at)
			return arg;
		memset(*at, mark, 2 * size);
	}
	for (unsigned int i = 0; i < BLOCKS; i++)
		heap_put(blocks[i]);
	return NULL;
}

static void threads_and_children__have_blocks_of_their_own(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_put,
						(void *)(i + 1)),
				 0);
	for (int i = 0; i < 50; i++) {
		pid_t child = fork();
		int status = -1;

		if (!child) {
			alarm(60);
			for (int n = 0; n < 100; n++)
				heap_put(heap_get(1, 100));
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	atomic_store(&is_over, true);
	for (int i = 0; i < THREADS; i++) {
		void *failed = NULL;

		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks__are_zeroed_aligned_and_used_again),
#if !defined(__SANITIZE_ADDRESS__)
		cmocka_unit_test(large__takes_no_memory_until_it_is_touched),
#endif
		cmocka_unit_test(more__keeps_what_was_there),
		cmocka_unit_test(too_much__is_refused_and_the_old_stays),
		cmocka_unit_test(
			threads_and_children__have_blocks_of_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
