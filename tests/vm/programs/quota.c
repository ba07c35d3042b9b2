/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quota FOLDER UID KIB: what this user may have on the file system of FOLDER,
 * which has been mounted with quotas. 0: no limit.
 */
#include <fcntl.h>
#include <linux/quota.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct if_dqblk limit = {.dqb_valid = QIF_BLIMITS};
	unsigned int command = (unsigned int)Q_SETQUOTA << SUBCMDSHIFT;
	int fd;

	if (argc != 4)
		return 2;
	fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	limit.dqb_bhardlimit = strtoull(argv[3], NULL, 10);
	if (fd < 0 || syscall(SYS_quotactl_fd, fd, command | USRQUOTA,
			      strtoul(argv[2], NULL, 10), &limit)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
