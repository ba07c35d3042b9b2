/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registrations of files that the device cannot have, under the preload: a
 * shadow takes the file's place, and everything is as it was when the MR is
 * gone or could not be had.
 *
 * The "device" is the stand-in, which refuses mappings of files (EFAULT) as the
 * kernel refuses to pin them. The files are in the current folder, or in
 * DAXMR_TEST_DAX_DIR.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "cannot_trap.h"
#include "daxmr.h"
#include "mapped.h"
#include "standin.h"

#define PAGE	  4096UL
#define PAGES	  64UL
#define SIZE	  (PAGES * PAGE)
#define WAIT_SEC  20
#define XFS_MAGIC 0x58465342
#define TAKEN	  0x5a5a /* an errno that nobody sets */

#define RW                                                                     \
	(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |                    \
	 IBV_ACCESS_REMOTE_READ)
#define FLUSH_GLOBAL	 (1 << 8)
#define FLUSH_PERSISTENT (1 << 9)

static struct standin_control *device;
static struct ibv_pd *pd;

struct mapped {
	char path[256];
	char *addr;
};

static const char *folder(void)
{
	const char *dir = getenv("DAXMR_TEST_DAX_DIR");

	return dir ? dir : ".";
}

/* Without a descriptor, as most programs have it. */
static void map_sized(struct mapped *file, size_t size)
{
	int fd;

	snprintf(file->path, sizeof(file->path), "%s/staged-test-XXXXXX",
		 folder());
	fd = mkostemp(file->path, O_CLOEXEC);
	assert_true(fd >= 0);
	for (size_t at = 0; at < size; at += PAGE) {
		char page[PAGE];
		size_t bytes = size - at < PAGE ? size - at : PAGE;

		memset(page, 'a' + (int)(at / PAGE % 26), sizeof(page));
		assert_int_equal(write(fd, page, bytes), bytes);
	}
	file->addr =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file->addr, MAP_FAILED);
	close(fd);
}

static void map_new(struct mapped *file)
{
	map_sized(file, SIZE);
}

static void drop(const struct mapped *file)
{
	munmap(file->addr, SIZE);
	assert_int_equal(unlink(file->path), 0);
}

static void check_is_file(const struct mapped *file)
{
	assert_non_null(
		strstr(name_at(file->addr), strrchr(file->path, '/') + 1));
	assert_non_null(strstr(name_at(file->addr + SIZE - 1),
			       strrchr(file->path, '/') + 1));
}

/* Others that had the file may keep the shadow there for a while. */
static void wait_until_file(const struct mapped *file)
{
	time_t until = time(NULL) + WAIT_SEC;

	while (is_shadow(file->addr)) {
		assert_true(time(NULL) < until);
		usleep(1000);
	}
	check_is_file(file);
}

/* What another process sees that opens it now. */
static void check_outside(const struct mapped *file, size_t offset,
			  const char *want, size_t length)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		char got[64];
		int fd;

		alarm(WAIT_SEC);
		fd = (int)syscall(SYS_openat, AT_FDCWD, file->path,
				  O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_pread64, fd, got, length, offset) !=
				      (long)length)
			_exit(2);
		_exit(memcmp(got, want, length) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int reset(void **state)
{
	(void)state;
	memset(device, 0, sizeof(*device));
	device->refuse_files = EFAULT;
	errno = TAKEN;
	return 0;
}

static struct ibv_mr *register_range(void *addr, size_t length)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, addr, length, RW);

	if (!mr)
		fail_msg("not registered: %s: %s", strerror(errno),
			 daxmr_errormsg());
	return mr;
}

static struct ibv_mr *register_to_read(void *addr, size_t length)
{
	struct ibv_mr *mr =
		ibv_reg_mr(pd, addr, length, IBV_ACCESS_REMOTE_READ);

	if (!mr)
		fail_msg("not registered: %s", daxmr_errormsg());
	return mr;
}

static void file__is_staged_and_comes_back_with_what_was_stored(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_new(&file);
	errno = TAKEN;
	mr = register_range(file.addr, SIZE);
	assert_int_equal(errno, TAKEN);
	assert_true(is_shadow(file.addr) && is_shadow(file.addr + SIZE - 1));
	assert_ptr_equal(device->seen.addr, file.addr);
	assert_int_equal(device->seen.length, SIZE);
	assert_int_equal(device->seen.access, RW);
	assert_int_equal(file.addr[3 * PAGE], 'd');
	memcpy(file.addr + 3 * PAGE, "as a peer does", 14);
	check_outside(&file, 3 * PAGE, "as a peer does", 14);
	memcpy(file.addr + 5 * PAGE, "and once more", 13);
	errno = TAKEN;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(errno, TAKEN);
	wait_until_file(&file);
	assert_memory_equal(file.addr + 3 * PAGE, "as a peer does", 14);
	check_outside(&file, 5 * PAGE, "and once more", 13);
	drop(&file);
}

/* Nobody had it meanwhile: the file is back when the verb returns. */
static void dereg__file_is_back_when_it_returns(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_new(&file);
	mr = register_range(file.addr, SIZE);
	memcpy(file.addr + SIZE - 4, "last", 4);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	assert_memory_equal(file.addr + SIZE - 4, "last", 4);
	check_outside(&file, SIZE - 4, "last", 4);
	drop(&file);
}

/* A shadow needs no paging on demand, and no device is trusted with it. */
static void own_on_demand__is_taken_out(void **state)
{
	struct ibv_mr *mr, *demanded;
	struct mapped file;

	(void)state;
	map_new(&file);
	mr = register_range(file.addr, PAGE);
	demanded = ibv_reg_mr(pd, file.addr, PAGE, RW | IBV_ACCESS_ON_DEMAND);
	assert_non_null(demanded);
	assert_int_equal(device->seen.access, RW);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_true(is_shadow(file.addr));
	assert_int_equal(ibv_dereg_mr(demanded), 0);
	check_is_file(&file);
	drop(&file);
}

/*
 * No shadow is ever dumped; what the program said of dumps before and since is
 * what the file has when it is back.
 */
static void core_dumps__are_as_the_program_said(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;
	char *moved;

	(void)state;
	map_new(&file);
	assert_int_equal(madvise(file.addr, 8 * PAGE, MADV_DONTDUMP), 0);
	mr = register_range(file.addr, SIZE);
	assert_int_equal(madvise(file.addr, 2 * PAGE, MADV_DODUMP), 0);
	assert_int_equal(
		madvise(file.addr + 16 * PAGE, 8 * PAGE, MADV_DONTDUMP), 0);
	for (unsigned int page = 0; page < PAGES; page += 3)
		assert_true(has_flag(file.addr + page * PAGE, " dd"));
	/* the last four pages of those, where only a file was before */
	moved = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	assert_ptr_equal(mremap(file.addr + 20 * PAGE, 4 * PAGE, 4 * PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED, moved),
			 moved);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	for (unsigned int page = 0; page < 20; page++)
		if (has_flag(file.addr + page * PAGE, " dd") !=
		    ((page >= 2 && page < 8) || page >= 16))
			fail_msg("page %u is the wrong one for dumps", page);
	assert_false(has_flag(file.addr + 24 * PAGE, " dd"));
	assert_true(has_flag(moved, " dd") &&
		    has_flag(moved + 3 * PAGE, " dd"));
	munmap(moved, 4 * PAGE);
	drop(&file);
}

static void flush_flags__global_passes_persistent_is_refused(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_new(&file);
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW | FLUSH_PERSISTENT));
	assert_int_equal(errno, EFAULT); /* the kernel's own */
	assert_non_null(strstr(daxmr_errormsg(), "FLUSH_PERSISTENT"));
	check_is_file(&file);
	mr = ibv_reg_mr(pd, file.addr, SIZE, RW | FLUSH_GLOBAL);
	assert_non_null(mr);
	assert_int_equal(device->seen.access, RW | FLUSH_GLOBAL);
	/* the shadow itself must not be taken for persistent */
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW | FLUSH_PERSISTENT));
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	drop(&file);
}

static void odd_range__is_staged_and_the_rest_is_not(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_new(&file);
	mr = register_range(file.addr + 10 * PAGE - 1, 2);
	assert_false(is_shadow(file.addr + 9 * PAGE - 1));
	assert_true(is_shadow(file.addr + 9 * PAGE));
	assert_true(is_shadow(file.addr + 11 * PAGE - 1));
	assert_false(is_shadow(file.addr + 11 * PAGE));
	file.addr[10 * PAGE] = '!';
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_outside(&file, 10 * PAGE, "!", 1);
	drop(&file);
}

static void failed_registration__leaves_the_file_as_it_was(void **state)
{
	struct mapped file;

	(void)state;
	map_new(&file);
	device->refuse_memory = ENOMEM; /* the limit on locked memory */
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, ENOMEM);
	assert_non_null(strstr(daxmr_errormsg(), "locked memory"));
	check_is_file(&file);
	device->refuse_memory = 0;
	assert_int_equal(ibv_dereg_mr(register_range(file.addr, SIZE)), 0);
	drop(&file);
}

static void failed_dereg__keeps_the_shadow(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_new(&file);
	mr = register_range(file.addr, SIZE);
	device->refuse_dereg = EBUSY;
	assert_int_equal(ibv_dereg_mr(mr), EBUSY);
	assert_true(is_shadow(file.addr));
	device->refuse_dereg = 0;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	drop(&file);
}

/* The shadow stays under the MR that is left, in whatever order they go. */
static void overlapping__shadow_stays_for_the_last(void **state)
{
	struct mapped file;
	struct ibv_mr *all, *again, *part;

	(void)state;
	map_new(&file);
	part = register_range(file.addr + 20 * PAGE, 10 * PAGE);
	all = register_range(file.addr, SIZE);
	again = register_range(file.addr + 25 * PAGE, PAGE);
	assert_int_equal(ibv_dereg_mr(part), 0);
	assert_true(is_shadow(file.addr) && is_shadow(file.addr + 20 * PAGE));
	assert_int_equal(ibv_dereg_mr(all), 0);
	assert_true(is_shadow(file.addr + 25 * PAGE));
	assert_false(is_shadow(file.addr));
	memcpy(file.addr + 25 * PAGE, "still", 5);
	assert_int_equal(ibv_dereg_mr(again), 0);
	check_is_file(&file);
	check_outside(&file, 25 * PAGE, "still", 5);
	drop(&file);
}

/* file, memory, another file, the first one's beginning once more: one MR */
static void several_mappings__are_one_region(void **state)
{
	struct mapped one, two;
	struct ibv_mr *mr;
	char *alias;

	(void)state;
	map_new(&one);
	map_new(&two);
	assert_ptr_not_equal(
		mmap(one.addr + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		MAP_FAILED);
	assert_ptr_equal(mremap(two.addr, 8 * PAGE, 8 * PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED,
				one.addr + 16 * PAGE),
			 one.addr + 16 * PAGE);
	alias = mremap(one.addr, 0, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       one.addr + 24 * PAGE);
	assert_ptr_equal(alias, one.addr + 24 * PAGE);
	mr = register_range(one.addr, SIZE);
	assert_true(is_shadow(one.addr));
	assert_false(is_shadow(one.addr + 8 * PAGE));
	assert_true(is_shadow(one.addr + 16 * PAGE));
	assert_true(is_shadow(alias));
	memcpy(one.addr + 3 * PAGE, "one", 3);
	assert_memory_equal(alias + 3 * PAGE, "one", 3);
	memcpy(one.addr + 16 * PAGE, "two", 3);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&one);
	check_outside(&one, 3 * PAGE, "one", 3);
	check_outside(&two, 0, "two", 3);
	munmap(two.addr + 8 * PAGE, SIZE - 8 * PAGE);
	munmap(one.addr, SIZE);
	unlink(one.path);
	unlink(two.path);
}

/* The second of two cannot be had: the first is as before. */
static void several_files__all_or_none(void **state)
{
	struct mapped one, two;
	int held;

	(void)state;
	map_new(&one);
	map_new(&two);
	assert_ptr_equal(mremap(two.addr, 8 * PAGE, 8 * PAGE,
				MREMAP_MAYMOVE | MREMAP_FIXED,
				one.addr + 8 * PAGE),
			 one.addr + 8 * PAGE);
	held = open(two.path, O_RDONLY | O_CLOEXEC);
	assert_true(held >= 0);
	assert_null(ibv_reg_mr(pd, one.addr, SIZE, RW));
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), strrchr(two.path, '/') + 1));
	check_is_file(&one);
	close(held);
	assert_int_equal(ibv_dereg_mr(register_range(one.addr, SIZE)), 0);
	munmap(two.addr + 8 * PAGE, SIZE - 8 * PAGE);
	munmap(one.addr, SIZE);
	unlink(one.path);
	unlink(two.path);
}

static void end_of_file__its_page_is_whole_beyond_is_refused(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_sized(&file, 10 * PAGE + 17);
	mr = register_range(file.addr, 10 * PAGE + 17);
	file.addr[10 * PAGE + 16] = '!';
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_outside(&file, 10 * PAGE + 16, "!", 1);
	assert_int_equal(ibv_dereg_mr(register_range(file.addr, 11 * PAGE)), 0);
	/* it is as long as before */
	assert_int_equal(truncate(file.path, 10 * PAGE + 17), 0);
	assert_int_equal(truncate(file.path, 5 * PAGE), 0);
	assert_null(ibv_reg_mr(pd, file.addr, 6 * PAGE, RW));
	assert_int_equal(errno, ERANGE);
	assert_non_null(strstr(daxmr_errormsg(), "20480 bytes"));
	assert_non_null(strstr(daxmr_errormsg(), "make it longer"));
	munmap(file.addr, 11 * PAGE);
	unlink(file.path);
}

static void hole__is_refused_as_ever(void **state)
{
	struct mapped file;

	(void)state;
	map_new(&file);
	munmap(file.addr + 8 * PAGE, PAGE);
	device->refuse_memory = EFAULT; /* what the kernel says of holes */
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "not mapped"));
	check_is_file(&file);
	drop(&file);
}

/* All of it once more, from a description that is for reading only. */
static char *map_again(const struct mapped *file, int protection, int flags)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC);
	char *addr = mmap(NULL, SIZE, protection, flags, fd, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	close(fd);
	return addr;
}

/* A read lease: other readers do no harm, and it stays for reading only. */
static void read_only_file__is_staged_for_reading(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;
	int held;

	(void)state;
	map_new(&file);
	munmap(file.addr, SIZE);
	file.addr = map_again(&file, PROT_READ, MAP_SHARED);
	held = open(file.path, O_RDONLY | O_CLOEXEC);
	mr = ibv_reg_mr(pd, file.addr, SIZE, IBV_ACCESS_REMOTE_READ);
	if (!mr)
		fail_msg("%s", daxmr_errormsg());
	assert_true(is_shadow(file.addr) && is_shadow(file.addr + SIZE - 1));
	assert_int_equal(device->seen.access, IBV_ACCESS_REMOTE_READ);
	assert_int_equal(file.addr[3 * PAGE], 'd');
	check_outside(&file, 3 * PAGE, "ddd", 3);
	assert_int_equal(mprotect(file.addr, SIZE, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	close(held);
	drop(&file);
}

/*
 * Linux before 6.2 pins no shared mapping that can only be read: the device is
 * given another of the same memory, and nobody can tell.
 */
static void read_only_file__of_an_old_kernel_is_read_as_well(void **state)
{
	const char *in_place, *in_file;
	struct mapped file;
	struct ibv_mr *mr;
	char *alias;

	(void)state;
	map_new(&file);
	munmap(file.addr, SIZE);
	file.addr = map_again(&file, PROT_READ, MAP_SHARED);
	device->refuse_read_only = EFAULT;
	mr = register_to_read(file.addr + PAGE + 5, SIZE - 2 * PAGE);
	in_place = file.addr + PAGE + 5;
	assert_ptr_equal(mr->addr, in_place);
	assert_int_equal(device->seen.iova, (uintptr_t)in_place);
	assert_int_equal(device->seen.length, SIZE - 2 * PAGE);
	assert_int_equal(device->seen.access, IBV_ACCESS_REMOTE_READ);
	alias = device->seen.addr;
	assert_true(is_shadow(alias) && is_shadow(in_place));
	assert_ptr_not_equal(alias, in_place);
	assert_memory_equal(alias, in_place, SIZE - 2 * PAGE);
	assert_int_equal(mprotect(file.addr, SIZE, PROT_READ | PROT_WRITE), -1);
	errno = TAKEN;
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, RW),
		IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "PROT_WRITE"));
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0, 0),
		0);
	device->refuse_dereg = EBUSY;
	assert_int_equal(ibv_dereg_mr(mr), EBUSY);
	assert_ptr_equal(mr->addr, in_place);
	device->refuse_dereg = 0;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_ptr_equal(device->seen.dropped_at, alias);
	assert_false(is_shadow(alias));
	check_is_file(&file);
	in_file = file.addr;
	assert_int_equal(in_file[3 * PAGE], 'd');
	drop(&file);
}

/* What only the kernel could refuse is refused with its own errno. */
static void read_only_file__of_an_old_kernel_beside_memory(void **state)
{
	struct mapped file;

	(void)state;
	map_new(&file);
	assert_int_equal(mprotect(file.addr, SIZE, PROT_READ), 0);
	assert_ptr_not_equal(mmap(file.addr + 8 * PAGE, PAGE, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				  0),
			     MAP_FAILED);
	device->refuse_read_only = EFAULT;
	errno = TAKEN;
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, IBV_ACCESS_REMOTE_READ));
	assert_int_equal(errno, EFAULT);
	check_is_file(&file);
	drop(&file);
}

/* No lease is needed: nobody else sees it. */
static void private_mapping__is_copied_and_stays_so(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;
	char *addr;
	int held;

	(void)state;
	map_new(&file);
	addr = map_again(&file, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	held = open(file.path, O_RDWR | O_CLOEXEC);
	device->refuse_privates = EFAULT;
	strcpy(addr + 3 * PAGE, "stored before");
	errno = TAKEN;
	mr = register_range(addr, SIZE);
	assert_int_equal(errno, TAKEN);
	assert_ptr_equal(device->seen.addr, addr);
	assert_int_equal(device->seen.access, RW);
	assert_string_equal(name_at(addr), "");
	assert_string_equal(name_at(addr + SIZE - 1), "");
	assert_string_equal(addr + 3 * PAGE, "stored before");
	assert_int_equal(addr[SIZE - 1], file.addr[SIZE - 1]);
	strcpy(addr + 5 * PAGE, "as a peer does");
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_string_equal(addr + 3 * PAGE, "stored before");
	assert_string_equal(addr + 5 * PAGE, "as a peer does");
	assert_int_equal(file.addr[3 * PAGE], 'd');
	assert_int_equal(file.addr[5 * PAGE], 'f');
	assert_int_equal(ibv_dereg_mr(register_range(addr, SIZE)), 0);
	check_is_file(&file);
	close(held);
	munmap(addr, SIZE);
	drop(&file);
}

static void private_mapping__beyond_the_end_is_refused(void **state)
{
	struct mapped file;
	char *addr;

	(void)state;
	map_new(&file);
	addr = map_again(&file, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	assert_int_equal(truncate(file.path, SIZE / 2), 0);
	device->refuse_privates = EFAULT;
	assert_null(ibv_reg_mr(pd, addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "beyond the end"));
	munmap(addr, SIZE);
	drop(&file);
}

static void others_have_it__is_busy_and_named(void **state)
{
	struct mapped file;
	int ready[2], end[2];
	char byte;
	pid_t pid;

	(void)state;
	map_new(&file);
	assert_int_equal(pipe(ready) | pipe(end), 0);
	pid = fork();
	if (!pid) {
		int fd = open(file.path, O_RDONLY);

		alarm(WAIT_SEC);
		close(end[1]);
		if (fd < 0 || write(ready[1], "", 1) != 1 ||
		    read(end[0], &byte, 1))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	errno = TAKEN;
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), "standin0"));
	assert_non_null(strstr(daxmr_errormsg(), "has to be closed by"));
	assert_non_null(strstr(daxmr_errormsg(), file.path + 1));
	check_is_file(&file);
	close(end[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(ibv_dereg_mr(register_range(file.addr, SIZE)), 0);
	for (int i = 0; i < 2; i++)
		close(ready[i]);
	close(end[0]);
	drop(&file);
}

/* Nothing can be written: others may have it open as well, to read. */
static void read_only_file__is_staged_beside_readers(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;
	int fd;

	(void)state;
	map_new(&file);
	munmap(file.addr, SIZE);
	fd = open(file.path, O_RDONLY | O_CLOEXEC);
	file.addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file.addr, MAP_FAILED);
	mr = ibv_reg_mr(pd, file.addr, SIZE, IBV_ACCESS_REMOTE_READ);
	if (!mr)
		fail_msg("not registered: %s", daxmr_errormsg());
	assert_true(is_shadow(file.addr));
	assert_int_equal(file.addr[2 * PAGE], 'c');
	check_outside(&file, 3 * PAGE, "dddd", 4);
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "PROT_WRITE"));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	wait_until_file(&file);
	close(fd);
	drop(&file);
}

/* MR and lease are the parent's: a child's dereg takes neither away. */
static void child__deregisters_and_nothing_happens(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;
	int status;
	pid_t pid;

	(void)state;
	map_new(&file);
	mr = register_range(file.addr, SIZE);
	pid = fork();
	if (!pid) {
		alarm(WAIT_SEC);
		_exit(ibv_dereg_mr(mr) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(is_shadow(file.addr));
	memcpy(file.addr, "parent", 6);
	check_outside(&file, 0, "parent", 6);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	wait_until_file(&file);
	drop(&file);
}

static struct ibv_mr *at_exit;

static void deregister_at_exit(void)
{
	if (ibv_dereg_mr(at_exit))
		_exit(3);
}

/* A process of its own, which ends with or without a dereg. */
static void end_registered(bool deregisters)
{
	struct mapped file;
	int status;
	pid_t pid;

	map_new(&file);
	pid = fork();
	if (!pid) {
		alarm(WAIT_SEC);
		at_exit = ibv_reg_mr(pd, file.addr, SIZE, RW);
		if (!at_exit)
			_exit(2);
		memcpy(file.addr + 7 * PAGE, "the end", 7);
		if (deregisters) {
			atexit(deregister_at_exit);
			exit(0);
		}
		_exit(0);
	}
	/* the parent has it mapped: with that no other gets a lease */
	munmap(file.addr, SIZE);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	check_outside(&file, 7 * PAGE, "the end", 7);
	unlink(file.path);
}

static void exit__deregisters_from_a_handler(void **state)
{
	(void)state;
	end_registered(true);
}

static void exit__without_dereg_all_is_in_the_file(void **state)
{
	(void)state;
	end_registered(false);
}

static int move_to(struct ibv_mr *mr, void *addr, size_t length)
{
	return ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, addr,
			    length, 0);
}

static void rereg__shadows_follow_the_mr(void **state)
{
	static char memory[PAGE];
	struct mapped one, two;
	struct ibv_mr *mr;

	(void)state;
	map_new(&one);
	map_new(&two);
	mr = register_range(memory, PAGE);
	errno = TAKEN;
	assert_int_equal(move_to(mr, one.addr, SIZE), 0);
	assert_int_equal(errno, TAKEN);
	assert_int_equal(device->seen.access, RW);
	assert_true(is_shadow(one.addr));
	memcpy(one.addr, "one", 3);
	assert_int_equal(move_to(mr, two.addr, SIZE), 0);
	assert_true(is_shadow(two.addr));
	check_is_file(&one);
	check_outside(&one, 0, "one", 3);
	assert_int_equal(move_to(mr, two.addr + PAGE, PAGE), 0);
	assert_true(is_shadow(two.addr + PAGE));
	assert_int_equal(move_to(mr, memory, PAGE), 0);
	check_is_file(&two);
	assert_int_equal(move_to(mr, one.addr, PAGE), 0);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	wait_until_file(&one);
	drop(&one);
	drop(&two);
}

static void rereg__failed_leaves_both_as_they_were(void **state)
{
	struct mapped one, two;
	struct ibv_mr *mr;
	int held;

	(void)state;
	map_new(&one);
	map_new(&two);
	mr = register_range(one.addr, SIZE);
	device->refuse_all = ENOMEM;
	assert_int_equal(move_to(mr, two.addr, SIZE), IBV_REREG_MR_ERR_CMD);
	assert_int_equal(errno, ENOMEM);
	device->refuse_all = 0;
	check_is_file(&two);
	assert_true(is_shadow(one.addr));
	held = open(two.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(move_to(mr, two.addr, SIZE), IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), strrchr(two.path, '/') + 1));
	close(held);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&one);
	drop(&one);
	drop(&two);
}

static void rereg__access_is_that_of_a_shadow(void **state)
{
	struct mapped file;
	struct ibv_mr *mr;

	(void)state;
	map_new(&file);
	mr = register_range(file.addr, SIZE);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, RW | FLUSH_PERSISTENT),
			 IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "FLUSH_PERSISTENT"));
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			     IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND),
		0);
	assert_int_equal(device->seen.access, IBV_ACCESS_REMOTE_READ);
	assert_int_equal(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, pd, NULL, 0, 0), 0);
	assert_true(is_shadow(file.addr));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	drop(&file);
}

/* Between the look at the memory and the kernel's, from another thread. */
static struct mapped contested;
static struct ibv_mr *other;

static void *register_other(void *arg)
{
	other = ibv_reg_mr(pd, contested.addr, SIZE, RW);
	return arg;
}

static void stage_by_other_thread(void)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, register_other, NULL))
		pthread_join(thread, NULL);
}

static void shadow_that_came_meanwhile__is_counted(void **state)
{
	struct ibv_mr *mr;

	(void)state;
	map_new(&contested);
	device->before = stage_by_other_thread;
	mr = register_range(contested.addr, SIZE);
	assert_non_null(other);
	assert_int_equal(ibv_dereg_mr(other), 0);
	assert_true(is_shadow(contested.addr));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&contested);
	drop(&contested);
}

static void *register_often(void *arg)
{
	struct mapped *file = arg;

	for (unsigned int i = 0; i < 10; i++) {
		char *addr = file->addr + i * PAGE;
		struct ibv_mr *mr = ibv_reg_mr(pd, addr, 20 * PAGE, RW);

		if (!mr)
			return (void *)daxmr_errormsg();
		if (!is_shadow(addr) || !is_shadow(addr + 20 * PAGE - 1))
			return (void *)"an MR on something else than a shadow";
		if (ibv_dereg_mr(mr))
			return (void *)"dereg failed";
	}
	return NULL;
}

static void threads__register_one_file_at_once(void **state)
{
	struct mapped file;
	pthread_t threads[3];
	void *failed;

	(void)state;
	map_new(&file);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						register_often, &file),
				 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &failed);
		if (failed)
			fail_msg("%s", (const char *)failed);
	}
	check_is_file(&file);
	drop(&file);
}

static int cannot_lease(void)
{
	struct statfs fs;

	if (!statfs(folder(), &fs) &&
	    (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_MAGIC))
		return 0;
	printf("%s is neither on ext4 nor on xfs\n", folder());
	return 77;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, reset)
		TEST(file__is_staged_and_comes_back_with_what_was_stored),
		TEST(dereg__file_is_back_when_it_returns),
		TEST(own_on_demand__is_taken_out),
		TEST(core_dumps__are_as_the_program_said),
		TEST(flush_flags__global_passes_persistent_is_refused),
		TEST(odd_range__is_staged_and_the_rest_is_not),
		TEST(failed_registration__leaves_the_file_as_it_was),
		TEST(failed_dereg__keeps_the_shadow),
		TEST(overlapping__shadow_stays_for_the_last),
		TEST(several_mappings__are_one_region),
		TEST(several_files__all_or_none),
		TEST(end_of_file__its_page_is_whole_beyond_is_refused),
		TEST(hole__is_refused_as_ever),
		TEST(read_only_file__is_staged_for_reading),
		TEST(read_only_file__of_an_old_kernel_is_read_as_well),
		TEST(read_only_file__of_an_old_kernel_beside_memory),
		TEST(private_mapping__is_copied_and_stays_so),
		TEST(private_mapping__beyond_the_end_is_refused),
		TEST(others_have_it__is_busy_and_named),
		TEST(read_only_file__is_staged_beside_readers),
		TEST(child__deregisters_and_nothing_happens),
		TEST(exit__deregisters_from_a_handler),
		TEST(exit__without_dereg_all_is_in_the_file),
		TEST(rereg__shadows_follow_the_mr),
		TEST(rereg__failed_leaves_both_as_they_were),
		TEST(rereg__access_is_that_of_a_shadow),
		TEST(shadow_that_came_meanwhile__is_counted),
		TEST(threads__register_one_file_at_once),
	};
	int skip = cannot_lease();

	if (!skip)
		skip = cannot_trap();
	if (skip)
		return skip;
	device = standin_control();
	pd = standin_pd();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
