/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a shadow can meet in somebody else's program: flags of mappings, a read
 * that was in flight, another user of userfaultfd, and four threads that store
 * all the time. Each holds, or is refused before anything has changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease_stage.h"
#include "mapping.h"
#include "reason.h"
#include "shadows.h"
#include "unit.h"

#define PAGES  300UL
#define LENGTH (PAGES * PAGE)

static struct lease_engine *engine;
static struct file file;
static char *map;

static void start(uint32_t flush_ms)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.terms.flush_ms = flush_ms,
	};

	file_make(&file, LENGTH);
	map = file_map(&file, LENGTH);
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	idler_start();
}

static int set_up(void **state)
{
	(void)state;
	start(0);
	return 0;
}

static int set_up_write_back(void **state)
{
	(void)state;
	start(20);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	idler_stop();
	lease_engine_stop(engine);
	munmap(map, LENGTH);
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

static struct lease *stage(void)
{
	return stage_range(engine, file.fd, F_WRLCK, 0, LENGTH);
}

static struct seen see_file(void)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	return seen_of(st.st_dev, st.st_ino);
}

static struct seen see_shadow(void)
{
	struct mapping mapping;

	assert_int_equal(mapping_at((uintptr_t)map, &mapping, NULL), 0);
	return seen_of(mapping.dev, mapping.ino);
}

/* On DAX it is a mapping of the kind that there is nowhere else. */
static void map_sync(void)
{
	if (getenv("DAXMR_TEST_DAX_DIR"))
		assert_true(mmap(map, LENGTH, PROT_READ | PROT_WRITE,
				 MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED,
				 file.fd, 0) != MAP_FAILED);
}

/* The engine has one of its own beside the program's. */
static void check_shadows(const struct seen *files, const struct seen *shadows)
{
	static const char *const kept[] = {"dc", "sr", "rr", "lo", "lf"};
	size_t found = 0;

	for (size_t i = 0; i < shadows->count; i++) {
		const struct mapping_state *shadow = &shadows->states[i];
		const struct mapping_state *of = &files->states[found];

		/* Of the file's pages nothing is in a core file. */
		assert_true(mapping_has(shadow, "dd"));
		if (shadow->mapping.start < (uintptr_t)map ||
		    shadow->mapping.start >= (uintptr_t)map + LENGTH)
			continue;
		assert_true(found++ < files->count);
		assert_int_equal(shadow->mapping.start, of->mapping.start);
		assert_int_equal(shadow->mapping.protection,
				 of->mapping.protection);
		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			assert_int_equal(mapping_has(shadow, kept[k]),
					 mapping_has(of, kept[k]));
	}
	assert_int_equal(found, files->count);
}

static void shadow__is_longer_than_a_file_may_be(void **state)
{
	struct rlimit old, small;
	struct lease *lease;
	int r;

	(void)state;
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, LENGTH, &lease), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = LENGTH / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	r = lease_stage(lease, 0, LENGTH);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(r, -EFBIG);
	assert_non_null(strstr(reason_text(), "RLIMIT_FSIZE"));
	assert_true(stage_is_file_at(&file, map));
	assert_int_equal(lease_stage(lease, 0, LENGTH), 0);
	unstage_range(lease, 0, LENGTH);
}

static void flags__are_what_they_were(void **state)
{
	struct seen before, during, after;
	struct lease *lease;

	(void)state;
	map_sync();
	assert_int_equal(madvise(map, PAGE, MADV_DONTFORK), 0);
	assert_int_equal(madvise(map + 2 * PAGE, PAGE, MADV_SEQUENTIAL), 0);
	assert_int_equal(madvise(map + 4 * PAGE, PAGE, MADV_RANDOM), 0);
	assert_int_equal(mlock(map + 6 * PAGE, 2 * PAGE), 0);
	assert_int_equal(mlock2(map + 22 * PAGE, PAGE, MLOCK_ONFAULT), 0);
	assert_int_equal(mprotect(map + 10 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(map + 12 * PAGE, PAGE, PROT_NONE), 0);
	before = see_file();
	/* Of DAX nothing is marked as locked. */
	assert_true(before.count >= 10);
	if (getenv("DAXMR_TEST_DAX_DIR"))
		assert_true(mapping_has(&before.states[0], "sf"));
	lease = stage();
	during = see_shadow();
	after = see_file();
	assert_int_equal(after.count, 0);
	seen_free(&after);
	check_shadows(&before, &during);
	unstage_range(lease, 0, LENGTH);
	after = see_file();
	seen_check_same(&before, &after);
	seen_free(&before);
	seen_free(&during);
	seen_free(&after);
}

/*
 * Direct I/O that was in flight when the shadow took the mapping's place comes
 * to lie in the file's page: that page, mapped once more, stands for a device.
 */
static void store_late(const char *text)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  file.fd, 5 * PAGE);

	assert_true(page != MAP_FAILED);
	memcpy(page + 100, text, strlen(text));
	munmap(page, PAGE);
}

static bool shows_late(void *arg)
{
	return !memcmp(map + 5 * PAGE + 100, arg, strlen(arg));
}

static void late_read__comes_with_the_write_back(void **state)
{
	char text[] = "late";
	struct lease *lease = stage();

	(void)state;
	memcpy(map + 7 * PAGE, "ours", 4);
	store_late(text);
	wait_for(shows_late, text, "it is in the mapping");
	assert_memory_equal(map + 7 * PAGE, "ours", 4);
	unstage_range(lease, 0, LENGTH);
	assert_true(shows_late(text));
	assert_memory_equal(map + 7 * PAGE, "ours", 4);
}

static void late_read__comes_with_a_flush(void **state)
{
	char text[] = "late", later[] = "later";
	struct lease *lease = stage();

	(void)state;
	store_late(text);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	wait_for(shows_late, text, "it is in the mapping");
	store_late(later);
	unstage_range(lease, 0, LENGTH);
	assert_true(shows_late(later));
}

static int another_uffd(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	assert_true(fd >= 0);
	if (!ioctl(fd, UFFDIO_API, &api))
		return fd;
	assert_int_equal(errno, EINVAL);
	close(fd);
	return -1;
}

static int watch(int uffd, char *addr, size_t length, uint64_t mode)
{
	struct uffdio_register range = {{(uintptr_t)addr, length}, mode, 0};

	return ioctl(uffd, UFFDIO_REGISTER, &range);
}

static void *touch(void *arg)
{
	return (void *)(uintptr_t)(*(volatile char *)arg + 1);
}

/* The program's own faults are its own. */
static void userfaultfd__elsewhere_is_left_alone(void **state)
{
	char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_zeropage zero = {.range = {(uintptr_t)own, PAGE}};
	int uffd = another_uffd(UFFD_FEATURE_EVENT_UNMAP |
				UFFD_FEATURE_EVENT_REMAP);
	struct uffd_msg message;
	pthread_t thread;
	void *seen;

	(void)state;
	assert_true(uffd >= 0);
	assert_int_equal(watch(uffd, own, PAGE, UFFDIO_REGISTER_MODE_MISSING),
			 0);
	pthread_create(&thread, NULL, touch, own);
	memcpy(map, "stored", 6);
	for (int i = 0; i < 3; i++)
		unstage_range(stage(), 0, LENGTH);
	assert_memory_equal(map, "stored", 6);
	assert_int_equal(read(uffd, &message, sizeof(message)),
			 sizeof(message));
	assert_int_equal(message.event, UFFD_EVENT_PAGEFAULT);
	assert_int_equal(message.arg.pagefault.address, (uintptr_t)own);
	assert_int_equal(ioctl(uffd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(thread, &seen);
	assert_int_equal((uintptr_t)seen, 1);
	close(uffd);
	munmap(own, PAGE);
}

/* Files can be watched from Linux 6.7 on, in one way. */
static void userfaultfd__on_the_file_is_refused(void **state)
{
	/* WP_UNPOPULATED, WP_ASYNC */
	int uffd = another_uffd(1 << 13 | 1 << 15);
	struct lease *lease = NULL;

	(void)state;
	if (uffd < 0) {
		print_message("no userfaultfd of this kind (Linux 6.7)\n");
		skip();
	}
	memcpy(map + PAGE, "stored", 6);
	assert_int_equal(
		watch(uffd, map + 3 * PAGE, PAGE, UFFDIO_REGISTER_MODE_WP), 0);
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, LENGTH, &lease), 0);
	assert_int_equal(lease_stage(lease, 0, LENGTH), -EOPNOTSUPP);
	assert_non_null(strstr(reason_text(), "userfaultfd"));
	assert_true(stage_is_file_at(&file, map));
	assert_true(stage_is_file_at(&file, map + 3 * PAGE));
	assert_memory_equal(map + PAGE, "stored", 6);
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), 0);
	close(uffd);
	unstage_range(stage(), 0, LENGTH);
}

static bool is_file(void *arg)
{
	return stage_is_file_at(&file, arg) && !file_lease_holder(&file);
}

/* A shadow can be watched: it stays for as long as it is. */
static void userfaultfd__on_the_shadow_keeps_it_there(void **state)
{
	struct lease *lease = stage();
	int uffd = another_uffd(0);
	char text[8] = "";

	(void)state;
	memcpy(map + 3 * PAGE, "first", 5);
	assert_int_equal(watch(uffd, map, LENGTH, UFFDIO_REGISTER_MODE_MISSING),
			 0);
	assert_int_equal(lease_unstage(lease, 0, LENGTH), -EBUSY);
	assert_non_null(strstr(reason_text(), "userfaultfd"));
	assert_int_equal(lease_release(lease, 0, LENGTH, INT64_MAX), -EAGAIN);
	assert_false(stage_is_file_at(&file, map));
	memcpy(map + 3 * PAGE, "later", 5);
	close(uffd);
	wait_for(is_file, map, "the file is mapped back");
	assert_memory_equal(map + 3 * PAGE, "later", 5);
	assert_int_equal(pread(file.fd, text, 5, 3 * PAGE), 5);
	assert_string_equal(text, "later");
}

/*
 * The storm: each of four threads has every fourth word, and stores 1, 2, 3...
 * one word after the other, two of them through another mapping. Before each
 * store the word must have what it stored there last.
 */
#define WORDS	(LENGTH / sizeof(uint64_t))
#define THREADS 4U
#define ROUNDS	4
#define OWN	(WORDS / THREADS)

static struct storer {
	pthread_t thread;
	_Atomic uint64_t *words; /* the first of its own */
	uint64_t stores;
	uint64_t lost;
} storers[THREADS];
static atomic_bool is_over;

static uint64_t expected(uint64_t i, uint64_t n)
{
	return i >= n ? 0 : (n - 1 - i) / OWN * OWN + i + 1;
}

static void *store(void *arg)
{
	struct storer *storer = arg;

	while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
		uint64_t n = storer->stores, i = n % OWN;
		_Atomic uint64_t *word = &storer->words[i * THREADS];

		storer->lost +=
			atomic_load_explicit(word, memory_order_relaxed) !=
			expected(i, n);
		atomic_store_explicit(word, ++storer->stores,
				      memory_order_relaxed);
	}
	return NULL;
}

static void see_words(uint64_t *ret)
{
	_Atomic uint64_t *words = (void *)map;

	for (size_t i = 0; i < WORDS; i++)
		ret[i] = atomic_load_explicit(&words[i], memory_order_relaxed);
}

/* No word goes back, whoever is looked at next. */
static void check_order(const uint64_t *before, const uint64_t *after,
			const char *what)
{
	for (size_t i = 0; i < WORDS; i++)
		if (before[i] > after[i])
			fail_msg("%s: word %zu was %ju, and is %ju", what, i,
				 (uintmax_t)before[i], (uintmax_t)after[i]);
}

/* The file has at least what was stored before the flush, nothing of later. */
static void flush_and_look(struct lease *lease, uint64_t *in_file)
{
	uint64_t *before = malloc(LENGTH), *after = malloc(LENGTH);
	uint64_t *last = malloc(LENGTH);

	assert_true(before && after && last);
	memcpy(last, in_file, LENGTH);
	see_words(before);
	if (lease)
		assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(pread(file.fd, in_file, LENGTH, 0), LENGTH);
	see_words(after);
	check_order(last, in_file, "the file against itself");
	check_order(before, in_file, "the file after a flush");
	check_order(in_file, after, "the mapping after the file");
	free(before);
	free(after);
	free(last);
}

static void storm(void)
{
	char *alias = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
			   file.fd, 0);
	uint64_t *in_file = calloc(1, LENGTH);

	assert_true(alias != MAP_FAILED && in_file);
	atomic_store(&is_over, false);
	for (unsigned int i = 0; i < THREADS; i++) {
		storers[i] = (struct storer){
			.words = (_Atomic uint64_t *)(i % 2 ? alias : map) + i,
		};
		pthread_create(&storers[i].thread, NULL, store, &storers[i]);
	}
	for (int round = 0; round < ROUNDS; round++) {
		struct lease *lease = stage();

		for (int i = 0; i < 2; i++)
			flush_and_look(lease, in_file);
		unstage_range(lease, 0, LENGTH);
		assert_true(stage_is_file_at(&file, map));
		assert_true(stage_is_file_at(&file, alias));
		flush_and_look(NULL, in_file);
	}
	atomic_store(&is_over, true);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(storers[i].thread, NULL);
	assert_int_equal(pread(file.fd, in_file, LENGTH, 0), LENGTH);
	for (unsigned int t = 0; t < THREADS; t++) {
		assert_int_equal(storers[t].lost, 0);
		for (size_t i = 0; i < OWN; i++)
			assert_int_equal(in_file[i * THREADS + t],
					 expected(i, storers[t].stores));
	}
	assert_memory_equal(map, in_file, LENGTH);
	assert_memory_equal(alias, in_file, LENGTH);
	munmap(alias, LENGTH);
	free(in_file);
}

static void storm__no_store_is_missing_or_out_of_order(void **state)
{
	(void)state;
	storm();
}

/* All that is mapped from now on is there at once, shadows and their twins. */
static void storm__with_everything_locked(void **state)
{
	(void)state;
	if (mlockall(MCL_FUTURE))
		fail_msg("mlockall: %s", strerror(errno));
	storm();
	munlockall();
}

/*
 * What program and keeper share beside shadows: board and books, which have the
 * digests' secret. How many mappings, and how many that children and core files
 * have as well.
 */
static int count_shared(int *ret_spread)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	bool is_ours = false;
	char line[512];
	int found = 0;

	*ret_spread = 0;
	if (!smaps)
		return -1;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			is_ours = strstr(line, "/memfd:daxmr-") &&
				  !strstr(line, SHADOW_NAME);
			found += is_ours;
		} else if (is_ours && !strncmp(line, "VmFlags:", 8)) {
			*ret_spread +=
				!strstr(line, " dc") || !strstr(line, " dd");
		}
	}
	fclose(smaps);
	return found;
}

static void child__has_nothing_of_board_and_books(void **state)
{
	int spread, status;
	struct lease *lease;
	pid_t pid;

	(void)state;
	lease = stage();
	assert_int_equal(count_shared(&spread), 2);
	assert_int_equal(spread, 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(count_shared(&spread));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	unstage_range(lease, 0, LENGTH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(flags__are_what_they_were),
		cmocka_unit_test_setup_teardown(
			late_read__comes_with_the_write_back, set_up_write_back,
			tear_down),
		TEST(child__has_nothing_of_board_and_books),
		TEST(late_read__comes_with_a_flush),
		TEST(shadow__is_longer_than_a_file_may_be),
		TEST(userfaultfd__elsewhere_is_left_alone),
		TEST(userfaultfd__on_the_file_is_refused),
		TEST(userfaultfd__on_the_shadow_keeps_it_there),
		TEST(storm__no_store_is_missing_or_out_of_order),
		TEST(storm__with_everything_locked),
	};
	int r = file_cannot_lease();

	if (!r)
		r = stage_cannot_trap();
	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
