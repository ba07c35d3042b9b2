/* SPDX-License-Identifier: BSD-2-Clause */
/* Room for bytes of a file: room.h. */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <time.h>

#include "privilege.h"
#include "raw.h"
#include "room.h"

#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static const struct owner {
	int type;
	int enforced; /* of fs_quota_stat's flags */
	const char *name;
} owners[] = {
	{USRQUOTA, FS_QUOTA_UDQ_ENFD, "user"},
	{GRPQUOTA, FS_QUOTA_GDQ_ENFD, "group"},
	{PRJQUOTA, FS_QUOTA_PDQ_ENFD, "project"},
};

static long ask(int fd, int command, int type, uint32_t id, void *answer)
{
	return syscall(SYS_quotactl_fd, fd,
		       (unsigned int)command << SUBCMDSHIFT |
			       (unsigned int)type,
		       id, answer);
}

static bool has_quotas(int fd, struct fs_quota_stat *ret)
{
	*ret = (struct fs_quota_stat){.qs_version = FS_QSTAT_VERSION};
	return !ask(fd, Q_XGETQSTAT, USRQUOTA, 0, ret);
}

/* On xfs that is whose number is 0, elsewhere who has the privilege. */
static bool is_exempt(const struct statfs *fs, uint32_t id)
{
	return fs->f_type == XFS_SUPER_MAGIC ? !id
					     : privilege_has(CAP_SYS_RESOURCE);
}

static uint32_t id_of(int fd, int type)
{
	struct fsxattr attributes;
	struct stat st;

	if (type == PRJQUOTA)
		return ioctl(fd, FS_IOC_FSGETXATTR, &attributes)
			       ? 0
			       : attributes.fsx_projid;
	if (raw_stat(fd, &st))
		return 0;
	return type == USRQUOTA ? st.st_uid : st.st_gid;
}

/* UINT64_MAX: no limit, as far as we may know. */
static uint64_t left_of(int fd, int type, uint32_t id)
{
	struct if_dqblk quota = {0};
	uint64_t limit;

	if (ask(fd, Q_GETQUOTA, type, id, &quota))
		return UINT64_MAX;
	limit = quota.dqb_bhardlimit;
	/* The soft one is as hard when its time is up. */
	if (quota.dqb_bsoftlimit && quota.dqb_btime &&
	    (uint64_t)time(NULL) >= quota.dqb_btime)
		limit = quota.dqb_bsoftlimit;
	if (!limit)
		return UINT64_MAX;
	limit *= QIF_DQBLKSIZE;
	return limit > quota.dqb_curspace ? limit - quota.dqb_curspace : 0;
}

static int look_at_quotas(int fd, uint64_t bytes, const struct statfs *fs,
			  char text[ROOM_TEXT_MAX])
{
	struct fs_quota_stat quotas;

	if (!has_quotas(fd, &quotas))
		return 0;
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		const struct owner *owner = &owners[i];
		uint32_t id = id_of(fd, owner->type);
		uint64_t left = UINT64_MAX;

		if (quotas.qs_flags & owner->enforced && !is_exempt(fs, id))
			left = left_of(fd, owner->type, id);
		if (bytes <= left)
			continue;
		snprintf(text, ROOM_TEXT_MAX,
			 "%" PRIu64
			 " KiB are needed, the quota of %s %u leaves %" PRIu64
			 " KiB",
			 bytes / 1024, owner->name, id, left / 1024);
		return owner->type == PRJQUOTA && fs->f_type == XFS_SUPER_MAGIC
			       ? -ENOSPC
			       : -EDQUOT;
	}
	return 0;
}

int room_look(int fd, uint64_t bytes, char text[ROOM_TEXT_MAX])
{
	struct statfs fs;
	uint64_t left;

	if (!bytes)
		return 0;
	if (fstatfs(fd, &fs))
		return -errno;
	left = fs.f_bfree * (uint64_t)fs.f_bsize;
	if (bytes <= left)
		return look_at_quotas(fd, bytes, &fs, text);
	snprintf(text, ROOM_TEXT_MAX,
		 "%" PRIu64 " KiB are needed, %" PRIu64 " KiB are free",
		 bytes / 1024, left / 1024);
	return -ENOSPC;
}
