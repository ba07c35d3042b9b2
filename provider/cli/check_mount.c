/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"

/* Undoes the kernel's \040 for what would break its columns. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; to++) {
		if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
			*to = (char)((text[1] - '0') * 64 +
				     (text[2] - '0') * 8 + (text[3] - '0'));
			text += 4;
		} else {
			*to = *text++;
		}
	}
	*to = '\0';
}

static void copy_field(char *to, size_t size, char *field)
{
	if (field)
		unescape(field);
	snprintf(to, size, "%s", field ? field : "");
}

/*
 * "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=x":
 * proc(5). False where the line is of another mount.
 */
static bool parse_line(char *line, uint64_t id, struct check_mount *ret)
{
	char *rest = line, *point = NULL, *field;
	int i;

	if (strtoull(strsep(&rest, " "), NULL, 10) != id)
		return false;
	for (i = 1; (field = strsep(&rest, " \n")); i++) {
		if (i == 2 &&
		    sscanf(field, "%u:%u", &ret->major, &ret->minor) != 2)
			return false;
		if (i == 4)
			point = field;
		if (i > 5 && strcmp(field, "-") == 0)
			break;
	}
	if (!field || !point)
		return false;
	copy_field(ret->point, sizeof(ret->point), point);
	copy_field(ret->fs, sizeof(ret->fs), strsep(&rest, " \n"));
	copy_field(ret->source, sizeof(ret->source), strsep(&rest, " \n"));
	copy_field(ret->options, sizeof(ret->options), strsep(&rest, " \n"));
	ret->is_known = true;
	return true;
}

void check_mount_find(int fd, struct check_mount *ret)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	struct statx stx;

	memset(ret, 0, sizeof(*ret));
	if (file && statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) == 0 &&
	    (stx.stx_mask & STATX_MNT_ID))
		while (getline(&line, &size, file) > 0)
			if (parse_line(line, stx.stx_mnt_id, ret))
				break;
	free(line);
	if (file)
		fclose(file);
}

bool check_mount_has(const struct check_mount *mount, const char *option)
{
	size_t length = strlen(option);
	const char *at;

	for (at = mount->options; *at; at += strcspn(at, ",")) {
		at += *at == ',';
		if (strncmp(at, option, length) == 0 &&
		    (at[length] == ',' || !at[length]))
			return true;
	}
	return false;
}
