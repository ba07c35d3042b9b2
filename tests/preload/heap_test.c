/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program whose malloc() has its memory in the file that is registered, and
 * looks at all of it while it is locked, as those may that allocate from
 * persistent memory: what is ours needs neither its blocks nor its lock while
 * it holds anybody up.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

#define ARENA  (16UL << 20)
#define ROUNDS 8
#define LOOKED                                                                 \
	(1UL << 20) /* the last byte of each of these, nobody's block          \
		     */

/* For the C library too. */
#define EXPORT __attribute__((visibility("default"), noipa))

extern char **environ;

static pthread_mutex_t arena_lock = PTHREAD_MUTEX_INITIALIZER;
static char arena_path[128];
static char *arena;
static size_t arena_used;

static void arena_make(void)
{
	int fd;

	snprintf(arena_path, sizeof(arena_path), "%s/heap-%d",
		 file_mapping_folder(), getpid());
	fd = open(arena_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, ARENA))
		_exit(1);
	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (arena == MAP_FAILED)
		_exit(1);
	close(fd);
}

static __thread unsigned int walks;
static atomic_uint walked, asked_in_walks;

static void look_at_all(void)
{
	asked_in_walks += walks;
	for (size_t at = 0; at < ARENA; at += LOOKED)
		*(volatile char *)(arena + at + LOOKED - 1) += 1;
}

/* In front of each; room is a power of two. */
struct block {
	size_t room;
	struct block *next;
};

static struct block *unused[64];

static struct block *cut(size_t room)
{
	struct block *block;

	if (arena_used % LOOKED + room >= LOOKED)
		arena_used = (arena_used / LOOKED + 1) * LOOKED;
	if (room >= LOOKED || arena_used + room > ARENA)
		_exit(2);
	block = (struct block *)(void *)(arena + arena_used);
	arena_used += room;
	block->room = room;
	return block;
}

EXPORT void *malloc(size_t size)
{
	size_t room = 64;
	struct block *block;

	while (room < size + sizeof(*block))
		room *= 2;
	pthread_mutex_lock(&arena_lock);
	if (!arena)
		arena_make();
	look_at_all();
	block = unused[__builtin_ctzl(room)];
	if (block)
		unused[__builtin_ctzl(room)] = block->next;
	else
		block = cut(room);
	pthread_mutex_unlock(&arena_lock);
	return block + 1;
}

EXPORT void free(void *old)
{
	struct block *block = old;

	if (!block)
		return;
	block--;
	pthread_mutex_lock(&arena_lock);
	look_at_all();
	block->next = unused[__builtin_ctzl(block->room)];
	unused[__builtin_ctzl(block->room)] = block;
	pthread_mutex_unlock(&arena_lock);
}

EXPORT void *calloc(size_t count, size_t size)
{
	return memset(malloc(count * size), 0, count * size);
}

EXPORT void *realloc(void *old, size_t size)
{
	const struct block *block = old;
	void *fresh = malloc(size);

	if (old) {
		size_t kept = block[-1].room - sizeof(*block);

		memcpy(fresh, old, kept < size ? kept : size);
		free(old);
	}
	return fresh;
}

/*
 * Who is in malloc() may want to know what is loaded (to unwind a stack), and
 * waits then for who walks over that.
 */
typedef int walk_fn(int (*fn)(struct dl_phdr_info *info, size_t size,
			      void *arg),
		    void *arg);

EXPORT int dl_iterate_phdr(int (*fn)(struct dl_phdr_info *info, size_t size,
				     void *arg),
			   void *arg)
{
	static walk_fn *_Atomic real;
	int r;

	if (!real)
		real = (walk_fn *)dlsym(RTLD_NEXT, "dl_iterate_phdr");
	walks++;
	r = real(fn, arg);
	walks--;
	atomic_fetch_add(&walked, 1);
	return r;
}

static atomic_bool is_over;

static void *allocate(void *arg)
{
	for (unsigned int i = 0; !atomic_load(&is_over); i++) {
		char *block = i % 64 ? NULL : malloc(32);

		if (block)
			snprintf(block, 32, "%d", gettid());
		free(block);
		usleep(200);
	}
	return arg;
}

/* What another process finds there. */
static void check_outside(const char *word)
{
	char grep[] = "grep", options[] = "-qaF", copy[64];
	char *const args[] = {grep, options, copy, arena_path, NULL};
	int status = -1;
	pid_t pid;

	snprintf(copy, sizeof(copy), "%s", word);
	assert_int_equal(posix_spawnp(&pid, args[0], NULL, NULL, args, environ),
			 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void heap_in_file__is_staged_and_comes_back(void **state)
{
	pthread_t threads[2];

	(void)state;
	alarm(180);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, allocate, NULL), 0);
	for (int round = 0; round < ROUNDS; round++) {
		struct ibv_mr *mr = register_range(arena, ARENA);
		char *word = malloc(64);

		assert_true(is_shadow(arena));
		snprintf(word, 64, "what was stored in round %d", round);
		/* who read in the round before may still have it */
		assert_int_equal(msync(arena, ARENA, MS_SYNC), 0);
		check_outside(word);
		assert_int_equal(ibv_dereg_mr(mr), 0);
		check_outside(word);
	}
	assert_true(atomic_load(&walked) > 0);
	assert_int_equal(atomic_load(&asked_in_walks), 0);
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(heap_in_file__is_staged_and_comes_back,
				       staging_reset),
	};
	int failed;

	staging_init();
	failed = staging_cannot();
	if (!failed)
		failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(arena_path);
	return failed;
}
