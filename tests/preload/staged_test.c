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
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

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
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, SIZE);
	errno = TAKEN;
	mr = register_range(file.addr, SIZE);
	assert_int_equal(errno, TAKEN);
	assert_true(is_shadow(file.addr) && is_shadow(file.addr + SIZE - 1));
	assert_ptr_equal(device->seen.addr, file.addr);
	assert_int_equal(device->seen.length, SIZE);
	assert_int_equal(device->seen.access, RW);
	assert_int_equal(file.addr[3 * PAGE], 'd');
	memcpy(file.addr + 3 * PAGE, "as a peer does", 14);
	file_mapping_check_outside(&file, 3 * PAGE, "as a peer does", 14);
	memcpy(file.addr + 5 * PAGE, "and once more", 13);
	errno = TAKEN;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(errno, TAKEN);
	wait_until_file(&file);
	assert_memory_equal(file.addr + 3 * PAGE, "as a peer does", 14);
	file_mapping_check_outside(&file, 5 * PAGE, "and once more", 13);
	file_mapping_remove(&file);
}

/* Nobody had it meanwhile: the file is back when the verb returns. */
static void dereg__file_is_back_when_it_returns(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, SIZE);
	mr = register_range(file.addr, SIZE);
	memcpy(file.addr + SIZE - 4, "last", 4);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	assert_memory_equal(file.addr + SIZE - 4, "last", 4);
	file_mapping_check_outside(&file, SIZE - 4, "last", 4);
	file_mapping_remove(&file);
}

/* A shadow needs no paging on demand, and no device is trusted with it. */
static void own_on_demand__is_taken_out(void **state)
{
	struct ibv_mr *mr, *demanded;
	struct file_mapping file;

	(void)state;
	file_mapping_make(&file, SIZE);
	mr = register_range(file.addr, PAGE);
	demanded = ibv_reg_mr(pd, file.addr, PAGE, RW | IBV_ACCESS_ON_DEMAND);
	assert_non_null(demanded);
	assert_int_equal(device->seen.access, RW);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_true(is_shadow(file.addr));
	assert_int_equal(ibv_dereg_mr(demanded), 0);
	check_is_file(&file);
	file_mapping_remove(&file);
}

/*
 * No shadow is ever dumped; what the program said of dumps before and since is
 * what the file has when it is back.
 */
static void core_dumps__are_as_the_program_said(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;
	char *moved;

	(void)state;
	file_mapping_make(&file, SIZE);
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
	file_mapping_remove(&file);
}

static void flush_flags__global_passes_persistent_is_refused(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, SIZE);
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
	file_mapping_remove(&file);
}

static void odd_range__is_staged_and_the_rest_is_not(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, SIZE);
	mr = register_range(file.addr + 10 * PAGE - 1, 2);
	assert_false(is_shadow(file.addr + 9 * PAGE - 1));
	assert_true(is_shadow(file.addr + 9 * PAGE));
	assert_true(is_shadow(file.addr + 11 * PAGE - 1));
	assert_false(is_shadow(file.addr + 11 * PAGE));
	file.addr[10 * PAGE] = '!';
	assert_int_equal(ibv_dereg_mr(mr), 0);
	file_mapping_check_outside(&file, 10 * PAGE, "!", 1);
	file_mapping_remove(&file);
}

static void failed_registration__leaves_the_file_as_it_was(void **state)
{
	struct file_mapping file;

	(void)state;
	file_mapping_make(&file, SIZE);
	device->refuse_memory = ENOMEM; /* the limit on locked memory */
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, ENOMEM);
	assert_non_null(strstr(daxmr_errormsg(), "locked memory"));
	check_is_file(&file);
	device->refuse_memory = 0;
	assert_int_equal(ibv_dereg_mr(register_range(file.addr, SIZE)), 0);
	file_mapping_remove(&file);
}

static void failed_dereg__keeps_the_shadow(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, SIZE);
	mr = register_range(file.addr, SIZE);
	device->refuse_dereg = EBUSY;
	assert_int_equal(ibv_dereg_mr(mr), EBUSY);
	assert_true(is_shadow(file.addr));
	device->refuse_dereg = 0;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	file_mapping_remove(&file);
}

/* The shadow stays under the MR that is left, in whatever order they go. */
static void overlapping__shadow_stays_for_the_last(void **state)
{
	struct file_mapping file;
	struct ibv_mr *all, *again, *part;

	(void)state;
	file_mapping_make(&file, SIZE);
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
	file_mapping_check_outside(&file, 25 * PAGE, "still", 5);
	file_mapping_remove(&file);
}

/* file, memory, another file, the first one's beginning once more: one MR */
static void several_mappings__are_one_region(void **state)
{
	struct file_mapping one, two;
	struct ibv_mr *mr;
	char *alias;

	(void)state;
	file_mapping_make(&one, SIZE);
	file_mapping_make(&two, SIZE);
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
	file_mapping_check_outside(&one, 3 * PAGE, "one", 3);
	file_mapping_check_outside(&two, 0, "two", 3);
	munmap(two.addr + 8 * PAGE, SIZE - 8 * PAGE);
	munmap(one.addr, SIZE);
	unlink(one.path);
	unlink(two.path);
}

/* The second of two cannot be had: the first is as before. */
static void several_files__all_or_none(void **state)
{
	struct file_mapping one, two;
	int held;

	(void)state;
	file_mapping_make(&one, SIZE);
	file_mapping_make(&two, SIZE);
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
	struct file_mapping file;
	struct ibv_mr *mr;

	(void)state;
	file_mapping_make(&file, 10 * PAGE + 17);
	mr = register_range(file.addr, 10 * PAGE + 17);
	file.addr[10 * PAGE + 16] = '!';
	assert_int_equal(ibv_dereg_mr(mr), 0);
	file_mapping_check_outside(&file, 10 * PAGE + 16, "!", 1);
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
	struct file_mapping file;

	(void)state;
	file_mapping_make(&file, SIZE);
	munmap(file.addr + 8 * PAGE, PAGE);
	device->refuse_memory = EFAULT; /* what the kernel says of holes */
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "not mapped"));
	check_is_file(&file);
	file_mapping_remove(&file);
}

/* All of it once more, from a description that is for reading only. */
static char *map_again(const struct file_mapping *file, int protection,
		       int flags)
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
	struct file_mapping file;
	struct ibv_mr *mr;
	int held;

	(void)state;
	file_mapping_make(&file, SIZE);
	munmap(file.addr, SIZE);
	file.addr = map_again(&file, PROT_READ, MAP_SHARED);
	held = open(file.path, O_RDONLY | O_CLOEXEC);
	mr = ibv_reg_mr(pd, file.addr, SIZE, IBV_ACCESS_REMOTE_READ);
	if (!mr)
		fail_msg("%s", daxmr_errormsg());
	assert_true(is_shadow(file.addr) && is_shadow(file.addr + SIZE - 1));
	assert_int_equal(device->seen.access, IBV_ACCESS_REMOTE_READ);
	assert_int_equal(file.addr[3 * PAGE], 'd');
	file_mapping_check_outside(&file, 3 * PAGE, "ddd", 3);
	assert_int_equal(mprotect(file.addr, SIZE, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	check_is_file(&file);
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	close(held);
	file_mapping_remove(&file);
}

/*
 * Linux before 6.2 pins no shared mapping that can only be read: the device is
 * given another of the same memory, and nobody can tell.
 */
static void read_only_file__of_an_old_kernel_is_read_as_well(void **state)
{
	const char *in_place, *in_file;
	struct file_mapping file;
	struct ibv_mr *mr;
	char *alias;

	(void)state;
	file_mapping_make(&file, SIZE);
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
	file_mapping_remove(&file);
}

/* What only the kernel could refuse is refused with its own errno. */
static void read_only_file__of_an_old_kernel_beside_memory(void **state)
{
	struct file_mapping file;

	(void)state;
	file_mapping_make(&file, SIZE);
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
	file_mapping_remove(&file);
}

/* No lease is needed: nobody else sees it. */
static void private_mapping__is_copied_and_stays_so(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;
	char *addr;
	int held;

	(void)state;
	file_mapping_make(&file, SIZE);
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
	file_mapping_remove(&file);
}

static void private_mapping__beyond_the_end_is_refused(void **state)
{
	struct file_mapping file;
	char *addr;

	(void)state;
	file_mapping_make(&file, SIZE);
	addr = map_again(&file, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	assert_int_equal(truncate(file.path, SIZE / 2), 0);
	device->refuse_privates = EFAULT;
	assert_null(ibv_reg_mr(pd, addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "beyond the end"));
	munmap(addr, SIZE);
	file_mapping_remove(&file);
}

static void others_have_it__is_busy_and_named(void **state)
{
	struct file_mapping file;
	int ready[2], end[2];
	char byte;
	pid_t pid;

	(void)state;
	file_mapping_make(&file, SIZE);
	assert_int_equal(pipe(ready) | pipe(end), 0);
	pid = fork();
	if (!pid) {
		int fd = open(file.path, O_RDONLY);

		alarm(FILE_MAPPING_WAIT_SEC);
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
	file_mapping_remove(&file);
}

/* Nothing can be written: others may have it open as well, to read. */
static void read_only_file__is_staged_beside_readers(void **state)
{
	struct file_mapping file;
	struct ibv_mr *mr;
	int fd;

	(void)state;
	file_mapping_make(&file, SIZE);
	munmap(file.addr, SIZE);
	fd = open(file.path, O_RDONLY | O_CLOEXEC);
	file.addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file.addr, MAP_FAILED);
	mr = ibv_reg_mr(pd, file.addr, SIZE, IBV_ACCESS_REMOTE_READ);
	if (!mr)
		fail_msg("not registered: %s", daxmr_errormsg());
	assert_true(is_shadow(file.addr));
	assert_int_equal(file.addr[2 * PAGE], 'c');
	file_mapping_check_outside(&file, 3 * PAGE, "dddd", 4);
	assert_null(ibv_reg_mr(pd, file.addr, SIZE, RW));
	assert_int_equal(errno, EFAULT);
	assert_non_null(strstr(daxmr_errormsg(), "PROT_WRITE"));
	assert_int_equal(ibv_dereg_mr(mr), 0);
	wait_until_file(&file);
	close(fd);
	file_mapping_remove(&file);
}

/*
 * The one that registers has what a window gives; the device here has none. A
 * key of the MR itself would reach beyond the end of the file.
 */
static void shrink_error__no_change_makes_a_key(void **state)
{
	const int wishes[] = {RW, IBV_ACCESS_REMOTE_READ,
			      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND,
			      IBV_ACCESS_LOCAL_WRITE |
				      IBV_ACCESS_REMOTE_ATOMIC};
	struct daxmr_options options = {.size = sizeof(options),
					.on_shrink = DAXMR_ON_SHRINK_ERROR};
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_region *region;
	struct file_mapping file;
	int r;

	(void)state;
	file_mapping_make(&file, SIZE);
	r = daxmr_reg_mr(pd, file.addr, SIZE, IBV_ACCESS_LOCAL_WRITE, &options,
			 &region);
	if (r)
		fail_msg("%d: %s", r, daxmr_errormsg());
	assert_int_equal(daxmr_region_info(region, &info), 0);
	assert_true(is_shadow(file.addr));
	for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		device->seen.access = 0;
		errno = TAKEN;
		assert_int_equal(ibv_rereg_mr(info.mr,
					      IBV_REREG_MR_CHANGE_ACCESS, NULL,
					      NULL, 0, wishes[i]),
				 IBV_REREG_MR_ERR_INPUT);
		assert_int_equal(errno, EOPNOTSUPP);
		assert_int_equal(device->seen.access, 0);
		assert_non_null(strstr(daxmr_errormsg(), "on_shrink=error"));
	}
	assert_int_equal(ibv_rereg_mr(info.mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, 0),
			 0);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	wait_until_file(&file);
	file_mapping_remove(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, staging_reset)
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
		TEST(shrink_error__no_change_makes_a_key),
	};
	int skip = staging_cannot();

	if (skip)
		return skip;
	staging_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
