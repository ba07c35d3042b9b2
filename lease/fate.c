/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What ends program and keeper together: fate.h.
 *
 * Paths in /proc/PID/cgroup are those of the reader's cgroup namespace, and so
 * are the roots of its mounts: cgroups above both are not to be seen, and what
 * they say isn't found.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fate.h"
#include "raw.h"

/* A file that is read line by line; longer lines come without their end. */
struct lines {
	int fd;
	size_t length;
	char text[4096];
};

static bool lines_open(struct lines *lines, const char *path)
{
	lines->fd = raw_open(AT_FDCWD, path, O_RDONLY);
	lines->length = 0;
	lines->text[0] = '\0';
	return lines->fd >= 0;
}

static void lines_close(struct lines *lines)
{
	raw_close(lines->fd);
}

/* The next line in lines->text, without its newline. False: there is none. */
static bool lines_next(struct lines *lines, char *line, size_t size)
{
	size_t used = 0;
	char *at = lines->text;

	for (;;) {
		if (at == lines->text + lines->length) {
			ssize_t n = raw_read(lines->fd, lines->text,
					     sizeof(lines->text));

			lines->length = n > 0 ? (size_t)n : 0;
			at = lines->text;
			if (n <= 0)
				break;
		}
		if (*at == '\n') {
			at++;
			line[used] = '\0';
			lines->length -= (size_t)(at - lines->text);
			memmove(lines->text, at, lines->length);
			return true;
		}
		if (used + 1 < size)
			line[used++] = *at;
		at++;
	}
	line[used] = '\0';
	return used > 0;
}

/* The process's path in cgroup v2. */
static bool find_cgroup(const char *proc, const char *process, char *path,
			size_t size)
{
	char name[PATH_MAX], line[PATH_MAX + 8];
	struct lines lines;
	bool found = false;

	snprintf(name, sizeof(name), "%s/%s/cgroup", proc, process);
	if (!lines_open(&lines, name))
		return false;
	while (!found && lines_next(&lines, line, sizeof(line))) {
		found = !strncmp(line, "0::/", 4) && strlen(line + 3) < size;
		if (found)
			strcpy(path, line + 3);
	}
	lines_close(&lines);
	return found;
}

/* Spaces and the like are \040 in mountinfo. */
static void unescape(char *text)
{
	char *to = text;
	unsigned int c;

	for (; *text; to++) {
		if (*text == '\\' && sscanf(text + 1, "%3o", &c) == 1 &&
		    strlen(text) > 3) {
			*to = (char)c;
			text += 4;
		} else {
			*to = *text++;
		}
	}
	*to = '\0';
}

/* Whether path lies in folder; *ret is the rest, "" or with its slash. */
static bool is_below(const char *path, const char *folder, const char **ret)
{
	size_t length = strcmp(folder, "/") ? strlen(folder) : 0;

	if (strncmp(path, folder, length) ||
	    (path[length] && path[length] != '/'))
		return false;
	*ret = strcmp(path + length, "/") ? path + length : "";
	return true;
}

/* The folder where the cgroup can be read, and how much of it is the mount. */
static bool find_folder(const char *proc, const char *cgroup, char *folder,
			size_t size, size_t *ret_mount)
{
	char name[PATH_MAX], line[PATH_MAX + 512];
	struct lines lines;
	bool found = false;

	snprintf(name, sizeof(name), "%s/self/mountinfo", proc);
	if (!lines_open(&lines, name))
		return false;
	while (!found && lines_next(&lines, line, sizeof(line))) {
		char *fields[6], *next = line, *type = strstr(line, " - ");
		const char *rest;
		unsigned int n;

		if (!type || strncmp(type, " - cgroup2 ", 11))
			continue;
		for (n = 0; n < 6 && next; n++)
			fields[n] = strsep(&next, " ");
		if (n < 6)
			continue;
		unescape(fields[3]);
		unescape(fields[4]);
		found = is_below(cgroup, fields[3], &rest) &&
			strlen(fields[4]) + strlen(rest) < size;
		if (found) {
			*ret_mount = strlen(fields[4]);
			snprintf(folder, size, "%s%s", fields[4], rest);
		}
	}
	lines_close(&lines);
	return found;
}

/* Cuts a path down to what it has in common with another. */
static void keep_common(char *path, const char *other)
{
	size_t common = 0, i;

	for (i = 0; path[i] && path[i] == other[i]; i++)
		if (path[i] == '/')
			common = i;
	if ((!path[i] || path[i] == '/') && (!other[i] || other[i] == '/'))
		common = i;
	path[common ? common : 1] = '\0';
}

static bool has_oom_group(const char *folder)
{
	char name[PATH_MAX + 32], line[8] = "";
	struct lines lines;

	snprintf(name, sizeof(name), "%s/memory.oom.group", folder);
	if (!lines_open(&lines, name))
		return false;
	lines_next(&lines, line, sizeof(line));
	lines_close(&lines);
	return !strcmp(line, "1");
}

/* At the cgroup or above it; the folder is cut down to the one that has it. */
static bool find_oom_group(const char *proc, const char *cgroup, char *folder,
			   size_t size)
{
	size_t mount;

	if (!find_folder(proc, cgroup, folder, size, &mount))
		return false;
	while (strlen(folder) > mount) {
		if (has_oom_group(folder))
			return true;
		*strrchr(folder, '/') = '\0';
	}
	return has_oom_group(folder);
}

/*
 * The innermost unit, of those that end with their service; user@.service is
 * everything of a user.
 */
static bool find_unit(const char *cgroup, char *unit, size_t size)
{
	static const char service[] = ".service";
	bool found = false;

	while (*cgroup == '/') {
		const char *name = cgroup + 1;
		size_t length = strcspn(name, "/");

		cgroup = name + length;
		if (length < sizeof(service) || length >= size ||
		    !strncmp(name, "user@", 5) ||
		    strncmp(cgroup - sizeof(service) + 1, service,
			    sizeof(service) - 1))
			continue;
		snprintf(unit, size, "%.*s", (int)length, name);
		found = true;
	}
	return found;
}

static void add(char *text, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void add(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	if (used)
		used += (size_t)snprintf(text + used, size - used, "; ");
	if (used < size)
		vsnprintf(text + used, size - used, format, args);
	va_end(args);
}

int fate_find_in(const char *proc, pid_t program, pid_t keeper, char *text,
		 size_t size)
{
	char cgroup[PATH_MAX], other[PATH_MAX], folder[PATH_MAX], unit[256];
	char process[16];
	int found = 0;

	text[0] = '\0';
	if (keeper <= 0)
		return 0;
	if (program == 1) {
		found |= FATE_PID_NAMESPACE;
		add(text, size,
		    "the program is the first process of its PID namespace, "
		    "and the kernel kills its keeper with it");
	}
	snprintf(process, sizeof(process), "%d", keeper);
	if (find_cgroup(proc, "self", cgroup, sizeof(cgroup)) &&
	    find_cgroup(proc, process, other, sizeof(other))) {
		keep_common(cgroup, other);
		if (find_oom_group(proc, cgroup, folder, sizeof(folder))) {
			found |= FATE_OOM_GROUP;
			add(text, size,
			    "out of memory, the kernel kills program and "
			    "keeper together (%.200s/memory.oom.group is 1)",
			    folder);
		}
		if (find_unit(cgroup, unit, sizeof(unit))) {
			found |= FATE_UNIT;
			add(text, size,
			    "stopping %s kills program and keeper together, "
			    "unless it has KillMode=process",
			    unit);
		}
	}
	if (found)
		add(text, size,
		    "a keeper that is started outside lives on: "
		    "DAXMR_KEEPER, daxmr-keeper(8)");
	return found;
}

int fate_find(pid_t keeper, char *text, size_t size)
{
	return fate_find_in("/proc", getpid(), keeper, text, size);
}
