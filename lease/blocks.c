/* SPDX-License-Identifier: BSD-2-Clause */
/* Which blocks a range of a file has: blocks.h. */
#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "blocks.h"

#define EXTENTS 64

#define IS_UNWRITTEN                                                           \
	(FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_DELALLOC |                    \
	 FIEMAP_EXTENT_DATA_INLINE)

int blocks_look(int fd, uint64_t offset, uint64_t end, struct blocks *ret)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) +
			  EXTENTS * sizeof(struct fiemap_extent)];
	} question;
	struct blocks blocks = {0};
	uint64_t at = offset;
	bool last = false;

	while (at < end && !last) {
		memset(&question, 0, sizeof(question));
		question.map.fm_start = at;
		question.map.fm_length = end - at;
		question.map.fm_extent_count = EXTENTS;
		if (ioctl(fd, FS_IOC_FIEMAP, &question.map))
			return -errno;
		if (!question.map.fm_mapped_extents)
			break;
		for (unsigned int i = 0; i < question.map.fm_mapped_extents;
		     i++) {
			const struct fiemap_extent *extent =
				&question.map.fm_extents[i];

			if (extent->fe_logical >= end)
				break;
			if (extent->fe_logical > at)
				blocks.holes += extent->fe_logical - at;
			at = extent->fe_logical + extent->fe_length;
			blocks.has_unwritten |=
				!!(extent->fe_flags & IS_UNWRITTEN);
			blocks.has_shared |=
				!!(extent->fe_flags & FIEMAP_EXTENT_SHARED);
			last = extent->fe_flags & FIEMAP_EXTENT_LAST;
		}
	}
	if (at < end)
		blocks.holes += end - at;
	*ret = blocks;
	return 0;
}
