/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a quota leaves of a file system's room: room.h. The quotas are brought
 * about in the system calls.
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/quota.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "lease_file.h"
#include "room.h"
#include "unit.h"

#define KIB 1024ULL
#define XFS 0x58465342

static struct file file;
static char text[ROOM_TEXT_MAX];
static struct {
	int flags;	/* 0: the file system knows no quotas */
	int type;	/* that has a limit */
	bool is_secret; /* we must not ask for it */
	bool is_mighty; /* we have CAP_SYS_RESOURCE */
	long magic;
	uint32_t project;
	struct if_dqblk limit;
} world;

long __real_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
int __real_ioctl(int fd, unsigned long number, void *answer);
int __wrap_ioctl(int fd, unsigned long number, void *answer);
int __real_fstatfs(int fd, struct statfs *ret);
int __wrap_fstatfs(int fd, struct statfs *ret);

static long refuse(int error)
{
	errno = error;
	return -1;
}

static long quota(long command, long id, void *answer)
{
	int type = (int)command & SUBCMDMASK;
	struct fs_quota_stat *state = answer;

	if (!world.flags)
		return refuse(ENOSYS);
	if ((int)((unsigned int)command >> SUBCMDSHIFT) == Q_XGETQSTAT) {
		assert_int_equal(state->qs_version, FS_QSTAT_VERSION);
		state->qs_flags = (uint16_t)world.flags;
		return 0;
	}
	assert_int_equal((unsigned int)command >> SUBCMDSHIFT, Q_GETQUOTA);
	if (world.is_secret)
		return refuse(EPERM);
	if (type == USRQUOTA)
		assert_int_equal(id, geteuid());
	if (type == world.type)
		memcpy(answer, &world.limit, sizeof(world.limit));
	return 0;
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long r;

	if (number == SYS_quotactl_fd)
		return quota(b, c, (void *)d);
	r = __real_syscall(number, a, b, c, d, e, f);
	if (number == SYS_capget && b) {
		struct __user_cap_data_struct *data = (void *)b;
		uint32_t mask = CAP_TO_MASK(CAP_SYS_RESOURCE);

		data[0].effective &= ~mask;
		data[0].effective |= world.is_mighty ? mask : 0;
	}
	return r;
}

int __wrap_fstatfs(int fd, struct statfs *ret)
{
	int r = __real_fstatfs(fd, ret);

	ret->f_type = world.magic;
	return r;
}

/* A user that has 100 of 150 KiB, in a file system on which it counts. */
static int setup(void **state)
{
	(void)state;
	file_make(&file, PAGE);
	memset(&world, 0, sizeof(world));
	world.flags = FS_QUOTA_UDQ_ACCT | FS_QUOTA_UDQ_ENFD;
	world.magic = EXT4_SUPER_MAGIC;
	world.limit.dqb_bhardlimit = 150;
	world.limit.dqb_curspace = 100 * KIB;
	text[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	file_remove(&file);
	return 0;
}

int __wrap_ioctl(int fd, unsigned long number, void *answer)
{
	if (number != FS_IOC_FSGETXATTR)
		return __real_ioctl(fd, number, answer);
	((struct fsxattr *)answer)->fsx_projid = world.project;
	return 0;
}

static void quota__what_it_leaves_is_there(void **state)
{
	(void)state;
	assert_int_equal(room_look(file.fd, 50 * KIB, text), 0);
	assert_string_equal(text, "");
	world.limit.dqb_bhardlimit = 0;
	assert_int_equal(room_look(file.fd, 51 * KIB, text), 0);
}

static void quota__more_is_refused_with_numbers(void **state)
{
	(void)state;
	assert_int_equal(room_look(file.fd, 52 * KIB, text), -EDQUOT);
	assert_non_null(strstr(text, "52 KiB are needed"));
	assert_non_null(strstr(text, "quota of user"));
	assert_non_null(strstr(text, "leaves 50 KiB"));
	world.limit.dqb_curspace = 200 * KIB;
	assert_int_equal(room_look(file.fd, 1, text), -EDQUOT);
	assert_non_null(strstr(text, "leaves 0 KiB"));
	/* what has its blocks needs none */
	assert_int_equal(room_look(file.fd, 0, text), 0);
}

static void quota__soft_ones_have_a_time(void **state)
{
	(void)state;
	world.limit.dqb_bsoftlimit = 110;
	assert_int_equal(room_look(file.fd, 20 * KIB, text), 0);
	world.limit.dqb_btime = (uint64_t)time(NULL) + 100;
	assert_int_equal(room_look(file.fd, 20 * KIB, text), 0);
	world.limit.dqb_btime = (uint64_t)time(NULL) - 100;
	assert_int_equal(room_look(file.fd, 20 * KIB, text), -EDQUOT);
}

static void quota__only_where_it_is_enforced(void **state)
{
	(void)state;
	world.flags = FS_QUOTA_UDQ_ACCT | FS_QUOTA_GDQ_ENFD;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), 0);
	world.flags = 0;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), 0);
}

static void quota__of_group_and_project(void **state)
{
	(void)state;
	world.flags = FS_QUOTA_GDQ_ENFD | FS_QUOTA_PDQ_ENFD;
	world.type = GRPQUOTA;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), -EDQUOT);
	assert_non_null(strstr(text, "quota of group"));
	world.type = PRJQUOTA;
	world.project = 7;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), -EDQUOT);
	assert_non_null(strstr(text, "quota of project 7"));
	world.magic = XFS;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), -ENOSPC);
}

/* On xfs nobody but those whose number is 0. */
static void quota__who_is_exempt(void **state)
{
	(void)state;
	world.flags = FS_QUOTA_PDQ_ENFD;
	world.type = PRJQUOTA;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), -EDQUOT);
	world.is_mighty = true;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), 0);
	world.magic = XFS;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), 0);
	world.project = 7;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), -ENOSPC);
}

/* The file system says so when it comes to that. */
static void quota__that_we_must_not_ask_for(void **state)
{
	(void)state;
	world.is_secret = true;
	assert_int_equal(room_look(file.fd, 60 * KIB, text), 0);
}

#define room_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(quota__what_it_leaves_is_there),
		room_test(quota__more_is_refused_with_numbers),
		room_test(quota__soft_ones_have_a_time),
		room_test(quota__only_where_it_is_enforced),
		room_test(quota__of_group_and_project),
		room_test(quota__who_is_exempt),
		room_test(quota__that_we_must_not_ask_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
