/* SPDX-License-Identifier: BSD-2-Clause */
/* What a folder of /proc lists: numbers.h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "numbers.h"
#include "raw.h"

int numbers_open(struct numbers *numbers, int dir, const char *path)
{
	numbers->at = numbers->used = 0;
	numbers->fd = raw_open(dir, path, O_RDONLY | O_DIRECTORY);
	return numbers->fd < 0 ? -errno : 0;
}

int numbers_next(struct numbers *numbers, int *ret)
{
	for (;;) {
		const struct dirent64 *entry =
			(const void *)(numbers->room + numbers->at);

		if (numbers->at >= numbers->used) {
			numbers->at = 0;
			numbers->used =
				syscall(SYS_getdents64, numbers->fd,
					numbers->room, sizeof(numbers->room));
			if (numbers->used <= 0)
				return numbers->used ? -errno : 0;
			continue;
		}
		numbers->at += entry->d_reclen;
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		*ret = atoi(entry->d_name);
		return 1;
	}
}

void numbers_close(struct numbers *numbers)
{
	raw_close(numbers->fd);
}
