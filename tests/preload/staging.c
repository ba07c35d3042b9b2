/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "cannot_trap.h"
#include "daxmr.h"
#include "mapped.h"
#include "staging.h"

#define XFS_MAGIC 0x58465342

struct standin_control *device;
struct ibv_pd *pd;
struct file_mapping staged_file;

void staging_init(void)
{
	device = standin_control();
	pd = standin_pd();
}

int staging_cannot(void)
{
	const char *folder = file_mapping_folder();
	struct statfs fs;

	if (!statfs(folder, &fs) &&
	    (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_MAGIC))
		return cannot_trap();
	printf("%s is neither on ext4 nor on xfs\n", folder);
	return 77;
}

int staging_reset(void **state)
{
	(void)state;
	memset(device, 0, sizeof(*device));
	device->refuse_files = EFAULT;
	errno = TAKEN;
	return 0;
}

int staging_set_up(void **state)
{
	file_mapping_make(&staged_file, SIZE);
	return staging_reset(state);
}

int staging_tear_down(void **state)
{
	(void)state;
	file_mapping_remove(&staged_file);
	return 0;
}

struct ibv_mr *register_range(void *addr, size_t length)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, addr, length, RW);

	if (!mr)
		fail_msg("not registered: %s: %s", strerror(errno),
			 daxmr_errormsg());
	return mr;
}

void check_is_file(const struct file_mapping *file)
{
	const char *name = strrchr(file->path, '/') + 1;

	assert_non_null(strstr(name_at(file->addr), name));
	assert_non_null(strstr(name_at(file->addr + SIZE - 1), name));
}

void wait_until_file(const struct file_mapping *file)
{
	time_t until = time(NULL) + FILE_MAPPING_WAIT_SEC;

	while (is_shadow(file->addr)) {
		assert_true(time(NULL) < until);
		usleep(1000);
	}
	check_is_file(file);
}
