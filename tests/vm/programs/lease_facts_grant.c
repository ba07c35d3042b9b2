/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a lease is granted: generic_add_lease() and check_conflicting_open() in
 * fs/locks.c count the open file descriptions of the inode, no more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>
#include <linux/stat.h>

#include "lease_facts.h"

static void grant__writing_lease_for_the_only_description(void **state)
{
	static const int modes[] = {O_RDWR, O_WRONLY, O_RDONLY};
	struct facts *f = *state;
	size_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		holder_open(f, modes[i]);
		assert_int_equal(lease_get(f->fd), F_UNLCK);
		assert_string_equal(lease_line(f->fd), "none");
		assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
		assert_int_equal(lease_get(f->fd), F_WRLCK);
		assert_string_equal(lease_line(f->fd), "ACTIVE WRITE");
		/* once more changes nothing */
		assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
		assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
		assert_int_equal(lease_set(f->fd, F_UNLCK), -EAGAIN);
		close(f->fd);
	}
}

static void grant__reading_lease_on_a_writable_description_is_eagain(void **s)
{
	struct facts *f = *s;

	holder_open(f, O_RDWR);
	assert_int_equal(lease_set(f->fd, F_RDLCK), -EAGAIN);
}

static void grant__reading_lease_among_readers_and_only_writers_break(void **s)
{
	struct facts *f = *s;

	holder_open(f, O_RDONLY);
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_RDONLY), 0);
	assert_int_equal(lease_set(f->fd, F_RDLCK), 0);
	assert_int_equal(fcntl(f->fd, F_SETSIG, LEASE_SIGNAL), 0);
	assert_int_equal(outsider_do(&f->two, act_open, f->file, O_RDONLY), 0);
	assert_false(signal_pending(LEASE_SIGNAL));
	assert_string_equal(lease_line(f->fd), "ACTIVE READ");
	outsider_do(&f->two, act_close, "", 0);
	outsider_ask(&f->two, act_open, f->file, O_WRONLY);
	break_expected(f->fd);
	outsider_waits(&f->two);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->two), 0);
	/* and while somebody writes there is none to be had */
	assert_int_equal(lease_set(f->fd, F_RDLCK), -EAGAIN);
}

static void grant__second_open_of_the_own_process_is_eagain(void **state)
{
	static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR};
	struct facts *f = *state;
	size_t i;
	int second;

	holder_open(f, O_RDWR);
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		second = open_or_fail(f->file, modes[i]);
		assert_int_equal(lease_set(f->fd, F_WRLCK), -EAGAIN);
		close(second);
	}
	second = open_or_fail(f->file, O_PATH);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
	close(second);
}

static void grant__open_or_mapping_of_another_process_is_eagain(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	assert_int_equal(outsider_do(&f->one, act_open, f->file, O_RDWR), 0);
	assert_int_equal(lease_set(f->fd, F_WRLCK), -EAGAIN);
	/* the mapping holds the description that it was made with */
	assert_int_equal(outsider_do(&f->one, act_map, "", 0), 0);
	assert_int_equal(lease_set(f->fd, F_WRLCK), -EAGAIN);
	outsider_kill(&f->one);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
}

static void grant__live_mapping_of_the_description_is_harmless(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	holder_map(f)[1] = 1;
	holder_take(f->fd);
	f->map[2] = 2;
	no_break_expected(f->fd);
}

static void grant__dup_is_the_same_description(void **state)
{
	struct facts *f = *state;
	int second;

	holder_open(f, O_RDWR);
	second = dup(f->fd);
	assert_true(second >= 0);
	assert_int_equal(lease_set(second, F_WRLCK), 0);
	assert_int_equal(lease_get(f->fd), F_WRLCK);
	assert_string_equal(lease_line(f->fd), "ACTIVE WRITE");
	close(second);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
}

/* perftest and libpmem close the descriptor once they have mapped. */
static void
grant__closed_after_mmap_needs_a_remap_from_a_reopened_path(void **s)
{
	struct facts *f = *s;
	unsigned char byte;

	holder_open(f, O_RDWR);
	holder_map(f)[1] = 1;
	close(f->fd);
	holder_open(f, O_RDWR);
	assert_int_equal(lease_set(f->fd, F_WRLCK), -EAGAIN);
	assert_ptr_equal(mmap(f->map, FILE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, f->fd, 0),
			 f->map);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
	assert_int_equal(f->map[1], 1);
	f->map[1] = 2;
	assert_int_equal(pread(f->fd, &byte, 1, 1), 1);
	assert_int_equal(byte, 2);
}

/* In the outsider: as nobody, a lease on the file. */
static long act_take_as_nobody(const char *path, long unused)
{
	long result;

	(void)unused;
	if (setresgid(65534, 65534, 65534) < 0 ||
	    setresuid(65534, 65534, 65534) < 0)
		return -ECANCELED;
	/* which took the signal of the parent's death away */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	result = act_open(path, O_RDWR);
	return result < 0 ? -ECANCELED : lease_set(outsider_fd, F_WRLCK);
}

static void grant__needs_the_owner_or_cap_lease(void **state)
{
	struct facts *f = *state;

	/* Root's file that everybody may write; CAP_LEASE has root. */
	assert_int_equal(outsider_do(&f->one, act_take_as_nobody, f->file, 0),
			 -EACCES);
	outsider_kill(&f->one);
	assert_int_equal(chown(f->file, 65534, 65534), 0);
	assert_int_equal(outsider_do(&f->two, act_take_as_nobody, f->file, 0),
			 0);
	outsider_kill(&f->two);
	holder_open(f, O_RDWR);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
}

static void grant__needs_a_regular_file(void **state)
{
	struct facts *f = *state;
	int ends[2], fd = open_or_fail(f->folder, O_RDONLY | O_DIRECTORY);

	assert_int_equal(lease_set(fd, F_WRLCK), -EINVAL);
	assert_int_equal(lease_set(fd, F_RDLCK), -EINVAL);
	fd = open_or_fail("/dev/null", O_RDWR);
	assert_int_equal(lease_set(fd, F_WRLCK), -EINVAL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(lease_set(ends[0], F_WRLCK), -EINVAL);
	fd = open_or_fail(f->file, O_PATH);
	assert_int_equal(lease_set(fd, F_WRLCK), -EBADF);
}

static void grant__leases_enable_off_is_einval(void **state)
{
	struct facts *f = *state;

	holder_open(f, O_RDWR);
	sysctl_set("leases-enable", 0);
	assert_int_equal(lease_set(f->fd, F_WRLCK), -EINVAL);
	sysctl_set("leases-enable", 1);
	assert_int_equal(lease_set(f->fd, F_WRLCK), 0);
	/* What is held stays, and is broken and released as ever. */
	sysctl_set("leases-enable", 0);
	assert_int_equal(fcntl(f->fd, F_SETSIG, LEASE_SIGNAL), 0);
	outsider_ask(&f->one, act_open, f->file, O_RDONLY);
	break_expected(f->fd);
	outsider_waits(&f->one);
	assert_int_equal(lease_set(f->fd, F_UNLCK), 0);
	assert_int_equal(outsider_answer(&f->one), 0);
}

/* The device and inode that /proc/self/maps has for an address. */
static void maps_name(const void *address, dev_t *ret_dev, ino_t *ret_ino)
{
	unsigned int major, minor;
	unsigned long from, ino;
	char line[512];
	FILE *in = fopen("/proc/self/maps", "re");

	assert_non_null(in);
	*ret_ino = 0;
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "%lx-%*s %*s %*s %x:%x %lu", &from, &major,
			   &minor, &ino) == 4 &&
		    from == (uintptr_t)address) {
			*ret_dev = makedev(major, minor);
			*ret_ino = ino;
		}
	}
	fclose(in);
	assert_int_not_equal(*ret_ino, 0);
}

static bool is_dax(const char *path)
{
	struct statx stx;

	assert_int_equal(statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &stx), 0);
	return stx.stx_attributes & STATX_ATTR_DAX;
}

/*
 * overlayfs has its own inodes, and so its own leases: what they guard is the
 * way through the merged folder only.  The file system has to be looked at.
 */
static void grant__overlayfs_grants_what_guards_nothing(void **state)
{
	static const char *const parts[] = {"lower", "upper", "work", "merged"};
	struct facts *f = *state;
	char path[4][200], merged[256], upper[256], options[700];
	struct statfs fs;
	struct stat st;
	bool dax, names_agree;
	dev_t dev = 0;
	ino_t ino;
	int i;

	for (i = 0; i < 4; i++) {
		make_path(path[i], sizeof(path[i]), "%s/%s", f->folder,
			  parts[i]);
		assert_true(mkdir(path[i], 0755) == 0 || errno == EEXIST);
	}
	make_path(options, sizeof(options),
		  "lowerdir=%s,upperdir=%s,workdir=%s", path[0], path[1],
		  path[2]);
	make_path(upper, sizeof(upper), "%s/f", path[1]);
	make_path(merged, sizeof(merged), "%s/f", path[3]);
	assert_int_equal(rename(f->file, upper), 0);
	dax = is_dax(upper);
	assert_int_equal(mount("overlay", path[3], "overlay", 0, options), 0);
	f->fd = open_or_fail(merged, O_RDWR);
	assert_int_equal(is_dax(merged), dax);
	holder_map(f);
	maps_name(f->map, &dev, &ino);
	assert_int_equal(fstat(f->fd, &st), 0);
	names_agree = dev == st.st_dev && ino == st.st_ino;
	holder_take(f->fd);
	assert_int_equal(outsider_do(&f->one, act_open, upper, O_RDWR), 0);
	no_break_expected(f->fd);
	assert_int_equal(outsider_do(&f->one, act_truncate, upper, 4096), 0);
	no_break_expected(f->fd);
	assert_int_equal(
		outsider_do(&f->two, act_open, merged, O_RDONLY | O_NONBLOCK),
		-EAGAIN);
	break_expected(f->fd);
	assert_int_equal(fstatfs(f->fd, &fs), 0);
	assert_int_equal(fs.f_type, OVERLAYFS_SUPER_MAGIC);
	/* Newer kernels show the merged file's name in maps as well: it tells
	 * nothing.  The kernels between were not looked at. */
	if (kernel_is(7, 0))
		assert_true(names_agree);
	else if (!kernel_is(6, 2))
		assert_false(names_agree);
}

static int overlay_teardown(void **state)
{
	struct facts *f = *state;
	char path[256];

	make_path(path, sizeof(path), "%s/merged", f->folder);
	umount2(path, MNT_DETACH);
	make_path(path, sizeof(path), "%s/upper/f", f->folder);
	unlink(path);
	return facts_teardown(state);
}

int grant_tests(void)
{
	const struct CMUnitTest grant[] = {
		FACT(grant__writing_lease_for_the_only_description),
		FACT(grant__reading_lease_on_a_writable_description_is_eagain),
		FACT(grant__reading_lease_among_readers_and_only_writers_break),
		FACT(grant__second_open_of_the_own_process_is_eagain),
		FACT(grant__open_or_mapping_of_another_process_is_eagain),
		FACT(grant__live_mapping_of_the_description_is_harmless),
		FACT(grant__dup_is_the_same_description),
		FACT(grant__closed_after_mmap_needs_a_remap_from_a_reopened_path),
		FACT(grant__needs_the_owner_or_cap_lease),
		FACT(grant__needs_a_regular_file),
		FACT(grant__leases_enable_off_is_einval),
		cmocka_unit_test_setup_teardown(
			grant__overlayfs_grants_what_guards_nothing,
			facts_setup, overlay_teardown),
	};

	return cmocka_run_group_tests(grant, NULL, NULL);
}
