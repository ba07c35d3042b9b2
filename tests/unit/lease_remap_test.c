/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings are made anew from another description: what each had stays, no
 * store of a running thread is lost, what cannot be carried over is refused.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap.h"
#include "lease_stage.h"
#include "mapping.h"
#include "reason.h"
#include "remap.h"
#include "unit.h"

#define PAGES	      16UL
#define THREADS	      3
#define ROUNDS	      60
#define GUARD_INSTALL 102 /* Linux 6.15: MADV_GUARD_INSTALL */
#define SYS_MSEAL     462 /* Linux 6.10 */

static struct file file;

static int setup(void **state)
{
	(void)state;
	file_make(&file, PAGES * PAGE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	file_remove(&file);
	return 0;
}

/* From a descriptor that is closed then. */
static char *map_closed(size_t pages, int protection, int flags, off_t page)
{
	int mode = flags & MAP_PRIVATE ? O_RDONLY : O_RDWR;
	int fd = open(file.path, mode | O_CLOEXEC);
	void *addr = mmap(NULL, pages * PAGE, protection, flags, fd,
			  page * (off_t)PAGE);

	assert_true(fd >= 0);
	assert_ptr_not_equal(addr, MAP_FAILED);
	close(fd);
	return addr;
}

static void remap(int fd)
{
	int r = remap_file(fd);

	if (r)
		fail_msg("%d: %s", r, reason_text());
}

/* The kernel's own word for it: a write lease is granted. */
static bool is_sole(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK))
		return false;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

static void remap__leaves_one_description(void **state)
{
	char *first = map_closed(4, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	char *second = map_closed(2, PROT_READ, MAP_SHARED, 3);

	(void)state;
	strcpy(first + 3 * PAGE, "both see it");
	assert_false(is_sole(file.fd));
	remap(file.fd);
	assert_true(is_sole(file.fd));
	assert_string_equal(second, "both see it");
	strcpy(first + 3 * PAGE, "still");
	assert_string_equal(second, "still");
	munmap(first, 4 * PAGE);
	munmap(second, 2 * PAGE);
}

static void remap__leaves_private_mappings_alone(void **state)
{
	char *addr = map_closed(1, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);

	(void)state;
	strcpy(addr, "mine");
	remap(file.fd);
	assert_string_equal(addr, "mine");
	assert_false(is_sole(file.fd));
	munmap(addr, PAGE);
	assert_true(is_sole(file.fd));
}

static struct seen see(void)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	return seen_of(st.st_dev, st.st_ino);
}

/* What smaps says of all of them is said of each alone. */
static void remap_each(const struct seen *seen)
{
	for (size_t i = 0; i < seen->count; i++) {
		struct mapping_state *all = &seen->states[i], one;
		uintptr_t addr = all->mapping.start;
		int r = mapping_state_at(addr, &one);

		if (r)
			fail_msg("0x%lx: %d", (unsigned long)addr, r);
		seen_forget_dirty(&one);
		seen_forget_dirty(all);
		assert_string_equal(one.flags, all->flags);
		assert_int_equal(one.key, all->key);
		r = remap_at(file.fd, addr);
		if (r)
			fail_msg("%d: %s", r, reason_text());
	}
}

/* Each beside a page of another kind, so that none of them merge. */
static void keep_what_each_mapping_had(bool one_by_one)
{
	static const int advices[] = {MADV_DONTFORK,   MADV_DONTDUMP,
				      MADV_SEQUENTIAL, MADV_RANDOM,
				      MADV_HUGEPAGE,   MADV_NOHUGEPAGE};
	int key = (int)syscall(SYS_pkey_alloc, 0, 0);
	struct seen before, after;
	char *addr;

	addr = map_closed(PAGES, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_NORESERVE, 0);
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		madvise(addr + i * PAGE, PAGE, advices[i]);
	assert_int_equal(mprotect(addr + 7 * PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(addr + 8 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(addr + 9 * PAGE, PAGE, PROT_READ | PROT_EXEC),
			 0);
	assert_int_equal(mlock(addr + 10 * PAGE, PAGE), 0);
	assert_int_equal(mlock2(addr + 11 * PAGE, PAGE, MLOCK_ONFAULT), 0);
	if (key > 0)
		assert_int_equal(syscall(SYS_pkey_mprotect, addr + 12 * PAGE,
					 PAGE, PROT_READ, key),
				 0);
	before = see();
	assert_true(before.count >= 11);
	if (one_by_one)
		remap_each(&before);
	else
		remap(file.fd);
	after = see();
	seen_check_same(&before, &after);
	assert_true(is_sole(file.fd));
	seen_free(&before);
	seen_free(&after);
	munmap(addr, PAGES * PAGE);
	if (key > 0)
		syscall(SYS_pkey_free, key);
}

static void remap__keeps_what_each_mapping_had(void **state)
{
	(void)state;
	keep_what_each_mapping_had(false);
}

static void remap__of_one_keeps_what_it_had(void **state)
{
	(void)state;
	keep_what_each_mapping_had(true);
}

/* Others are left on their description, nothing is left where it was read. */
static void remap__of_one_leaves_others_alone(void **state)
{
	char *first = map_closed(4, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	char *second = map_closed(2, PROT_READ, MAP_SHARED, 3);
	struct seen before = see(), after;

	(void)state;
	assert_int_equal(remap_at(file.fd, (uintptr_t)first + PAGE), 0);
	assert_false(is_sole(file.fd));
	assert_int_equal(remap_at(file.fd, (uintptr_t)second), 0);
	assert_true(is_sole(file.fd));
	after = see();
	seen_check_same(&before, &after);
	seen_free(&before);
	seen_free(&after);
	munmap(first, 4 * PAGE);
	munmap(second, 2 * PAGE);
}

/* DAX knows it; on a page cache there are no such mappings. */
static void remap__keeps_map_sync(void **state)
{
	int flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	struct seen before, after;
	void *addr;
	int fd;

	(void)state;
	fd = open(file.path, O_RDWR | O_CLOEXEC);
	addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	close(fd);
	if (!getenv("DAXMR_TEST_DAX_DIR")) {
		assert_ptr_equal(addr, MAP_FAILED);
		return;
	}
	assert_ptr_not_equal(addr, MAP_FAILED);
	before = see();
	assert_int_equal(before.count, 1);
	assert_true(mapping_has(before.states, "sf"));
	remap(file.fd);
	after = see();
	seen_check_same(&before, &after);
	assert_true(is_sole(file.fd));
	seen_free(&before);
	seen_free(&after);
	munmap(addr, PAGE);
}

static char *arena;
static atomic_bool is_over;
static atomic_uint started;
static uint64_t stored[THREADS];

/* Each word is this thread's alone: who finds another value lost a store. */
static void *store(void *arg)
{
	size_t which = (size_t)(uintptr_t)arg;
	uint64_t value = 0;

	while (!atomic_load(&is_over)) {
		value++;
		for (size_t page = 0; page < PAGES; page++) {
			volatile uint64_t *word =
				(uint64_t *)(arena + page * PAGE) + which;

			if (*word != value - 1)
				return (void *)1;
			*word = value;
		}
		if (value == 1)
			atomic_fetch_add(&started, 1);
	}
	stored[which] = value;
	return NULL;
}

static bool all_store(void *arg)
{
	(void)arg;
	return atomic_load(&started) == THREADS;
}

static void remap__threads_lose_no_store(void **state)
{
	int other = open(file.path, O_RDWR | O_CLOEXEC);
	pthread_t threads[THREADS];
	uint64_t *bytes = malloc(PAGES * PAGE);

	(void)state;
	arena = map_closed(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	atomic_store(&is_over, false);
	atomic_store(&started, 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, store, (void *)i), 0);
	wait_for(all_store, NULL, "each thread has stored");
	for (int i = 0; i < ROUNDS; i++)
		remap(i % 2 ? other : file.fd);
	atomic_store(&is_over, true);
	for (int i = 0; i < THREADS; i++) {
		void *lost;

		pthread_join(threads[i], &lost);
		assert_null(lost);
		assert_true(stored[i] > 0);
	}
	assert_int_equal(pread(file.fd, bytes, PAGES * PAGE, 0), PAGES * PAGE);
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < THREADS; i++)
			assert_int_equal(bytes[page * PAGE / 8 + i], stored[i]);
	close(other);
	free(bytes);
	munmap(arena, PAGES * PAGE);
}

/* One mapping that comes and goes, always at a place that is its own. */
static void *come_and_go(void *arg)
{
	int nothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	while (!atomic_load(&is_over)) {
		int fd = open(file.path, O_RDWR | O_CLOEXEC);

		if (mmap(arg, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) !=
			    arg ||
		    mmap(arg, PAGE, PROT_NONE, nothing, -1, 0) != arg)
			return arg;
		close(fd);
	}
	return NULL;
}

static void remap__others_come_and_go(void **state)
{
	char *addr = map_closed(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	char *slot = map_closed(1, PROT_READ, MAP_SHARED, 0);
	pthread_t thread;
	void *failed;

	(void)state;
	atomic_store(&is_over, false);
	assert_int_equal(pthread_create(&thread, NULL, come_and_go, slot), 0);
	for (int i = 0; i < ROUNDS; i++) {
		int r = remap_file(file.fd);

		if (r && r != -EBUSY)
			fail_msg("%d: %s", r, reason_text());
		addr[i % 16 * (int)PAGE] = (char)i;
	}
	atomic_store(&is_over, true);
	pthread_join(thread, &failed);
	assert_null(failed);
	munmap(slot, PAGE);
	remap(file.fd);
	assert_true(is_sole(file.fd));
	munmap(addr, PAGES * PAGE);
}

static void check_refused(int fd, int error, const char *text)
{
	struct seen before = see(), after;

	assert_int_equal(remap_file(fd), error);
	assert_non_null(strstr(reason_text(), text));
	after = see();
	seen_check_same(&before, &after);
	seen_free(&before);
	seen_free(&after);
}

/* A second mapping that would do stays on its description too. */
static void remap__refusal_changes_nothing(void **state)
{
	char *first = map_closed(1, PROT_READ, MAP_SHARED, 0);
	char *second = map_closed(1, PROT_READ | PROT_WRITE, MAP_SHARED, 1);
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);

	(void)state;
	check_refused(fd, -EACCES, "cannot be made anew");
	close(file.fd);
	assert_false(is_sole(fd));
	munmap(second, PAGE);
	close(fd);
	file.fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_false(is_sole(file.fd));
	munmap(first, PAGE);
	assert_true(is_sole(file.fd));
}

static void remap__sealed_is_refused(void **state)
{
	char *addr = map_closed(1, PROT_READ, MAP_SHARED, 0);
	bool is_sealed = !syscall(SYS_MSEAL, addr, PAGE, 0UL);

	(void)state;
	/* stays for the life of the process; the file is its own */
	if (is_sealed)
		check_refused(file.fd, -EOPNOTSUPP, "mseal");
	else
		assert_int_equal(errno, ENOSYS);
}

static void remap__guard_pages_are_refused(void **state)
{
	char *addr = map_closed(2, PROT_READ, MAP_SHARED, 0);

	(void)state;
	if (!madvise(addr + PAGE, PAGE, GUARD_INSTALL))
		check_refused(file.fd, -EOPNOTSUPP, "guard");
	else
		assert_int_equal(errno, EINVAL);
	munmap(addr, 2 * PAGE);
}

/* From Linux 6.7 on what the kernel alone handles, on files of ext4 and xfs. */
static void remap__of_one_with_userfaultfd_is_refused(void **state)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = 1 << 13 | 1 << 15, /* WP_UNPOPULATED, WP_ASYNC */
	};
	char *addr = map_closed(1, PROT_READ, MAP_SHARED, 0);
	struct uffdio_register range = {
		.range = {(uintptr_t)addr, PAGE},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int uffd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	(void)state;
	assert_true(uffd >= 0);
	if (!ioctl(uffd, UFFDIO_API, &api)) {
		assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &range), 0);
		assert_int_equal(remap_at(file.fd, (uintptr_t)addr),
				 -EOPNOTSUPP);
		assert_non_null(strstr(reason_text(), "userfaultfd"));
	} else {
		assert_int_equal(errno, EINVAL);
	}
	close(uffd);
	munmap(addr, PAGE);
}

/* Only memory of tmpfs can be registered in full, not files of ext4 and xfs. */
static void remap__userfaultfd_is_refused(void **state)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {
		.range.len = PAGE,
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd =
		(int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	int fd = memfd_create("lease-test", MFD_CLOEXEC), before = file.fd;
	void *addr;

	(void)state;
	assert_true(uffd >= 0 && fd >= 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	addr = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	range.range.start = (uintptr_t)addr;
	assert_int_equal(ioctl(uffd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &range), 0);
	file.fd = fd;
	check_refused(fd, -EOPNOTSUPP, "userfaultfd");
	file.fd = before;
	close(uffd);
	remap(fd);
	munmap(addr, PAGE);
	close(fd);
}

static void mapping__is_found_by_address(void **state)
{
	char *addr = map_closed(2, PROT_READ, MAP_SHARED, 3);
	char name[MAPPING_NAME_MAX], *full = realpath(file.path, NULL);
	struct mapping mapping;

	(void)state;
	assert_int_equal(mapping_at((uintptr_t)addr + PAGE, &mapping, name), 0);
	assert_int_equal(mapping.start, (uintptr_t)addr);
	assert_int_equal(mapping.end, (uintptr_t)addr + 2 * PAGE);
	assert_int_equal(mapping.offset, 3 * PAGE);
	assert_int_equal(mapping.protection, PROT_READ);
	assert_true(mapping.is_shared);
	assert_string_equal(name, full);
	munmap(addr, 2 * PAGE);
	assert_int_equal(mapping_at((uintptr_t)addr, &mapping, name), -EFAULT);
	free(full);
}

/* One after the other at the same address, which /proc remembers. */
static void mapping__may_write_as_its_description(void **state)
{
	static const int modes[] = {O_RDWR, O_RDONLY, O_RDWR};
	char *addr = map_closed(1, PROT_READ, MAP_SHARED, 0);
	struct seen seen;

	(void)state;
	for (int i = 0; i < 3; i++) {
		int fd = open(file.path, modes[i] | O_CLOEXEC);

		assert_ptr_equal(mmap(addr, PAGE, PROT_READ,
				      MAP_SHARED | MAP_FIXED, fd, 0),
				 addr);
		close(fd);
		assert_int_equal(mapping_may_write((uintptr_t)addr),
				 modes[i] == O_RDWR);
		seen = see();
		assert_int_equal(seen.count, 1);
		assert_int_equal(mapping_has(seen.states, "mw"),
				 modes[i] == O_RDWR);
		heap_put(seen.states);
	}
	munmap(addr, PAGE);
}

#define remap_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		remap_test(remap__leaves_one_description),
		remap_test(remap__leaves_private_mappings_alone),
		remap_test(remap__keeps_what_each_mapping_had),
		remap_test(remap__of_one_keeps_what_it_had),
		remap_test(remap__of_one_leaves_others_alone),
		remap_test(remap__of_one_with_userfaultfd_is_refused),
		remap_test(remap__keeps_map_sync),
		remap_test(remap__threads_lose_no_store),
		remap_test(remap__others_come_and_go),
		remap_test(remap__refusal_changes_nothing),
		remap_test(remap__sealed_is_refused),
		remap_test(remap__guard_pages_are_refused),
		remap_test(remap__userfaultfd_is_refused),
		remap_test(mapping__is_found_by_address),
		remap_test(mapping__may_write_as_its_description),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease remap", tests, NULL, NULL);
}
