/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel says of memory, for stage_limits.h. What cannot be read is no
 * limit. Source: proc(5), Linux Documentation/admin-guide/cgroup-v2.rst and
 * cgroup-v1/memory.rst, drivers/infiniband/core/umem.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raw.h"
#include "stage_limits.h"

/* The longest, memory.stat, has about 3000 bytes on Linux 7. */
#define TEXT_MAX 8192

/* A version 1 hierarchy without a limit says about this, in pages. */
#define V1_NONE (1ULL << 62)

/* PROC_USER_INIT_INO in include/linux/proc_ns.h */
#define FIRST_USER_NAMESPACE "user:[4026531837]"

static bool read_text(const char *path, char text[TEXT_MAX])
{
	int fd = raw_open(AT_FDCWD, path, O_RDONLY);
	size_t filled = 0;
	ssize_t n = -1;

	while (fd >= 0 && filled < TEXT_MAX - 1) {
		n = raw_read(fd, text + filled, TEXT_MAX - 1 - filled);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		filled += (size_t)n;
	}
	if (fd >= 0)
		raw_close(fd);
	text[filled] = '\0';
	return fd >= 0 && n >= 0;
}

/* The number behind a word that a line begins with. */
static uint64_t number_of(const char *text, const char *word, int base,
			  uint64_t otherwise)
{
	size_t length = strlen(word);

	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (strncmp(at, word, length) == 0)
			return strtoull(at + length, NULL, base);
	}
	return otherwise;
}

static uint64_t read_number(const char *folder, const char *name)
{
	char path[PATH_MAX], text[TEXT_MAX], *end;
	unsigned long long number;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >=
		    (int)sizeof(path) ||
	    !read_text(path, text))
		return STAGE_NO_LIMIT;
	number = strtoull(text, &end, 10);
	/* "max" */
	return end == text ? STAGE_NO_LIMIT : number;
}

/* One that has it in a namespace of its own has the bit only. */
static bool has_ipc_lock(const char *proc, const char *status)
{
	char path[PATH_MAX], user[64];
	ssize_t n;

	if (!(number_of(status, "CapEff:", 16, 0) & (1ULL << CAP_IPC_LOCK)))
		return false;
	snprintf(path, sizeof(path), "%s/self/ns/user", proc);
	n = readlink(path, user, sizeof(user) - 1);
	user[n > 0 ? n : 0] = '\0';
	return n <= 0 || strcmp(user, FIRST_USER_NAMESPACE) == 0;
}

bool stage_limits_has_ipc_lock(const char *proc)
{
	char path[PATH_MAX], text[TEXT_MAX];

	snprintf(path, sizeof(path), "%s/self/status", proc);
	return read_text(path, text) && has_ipc_lock(proc, text);
}

/* Of an mlock() there is another count, and this limit is not for the sum. */
static void read_process(const char *proc, uint64_t memlock,
			 struct stage_numbers *ret)
{
	char path[PATH_MAX], text[TEXT_MAX];

	ret->memlock = memlock;
	ret->pinned = 0;
	snprintf(path, sizeof(path), "%s/self/status", proc);
	if (!read_text(path, text)) {
		ret->memlock = STAGE_NO_LIMIT;
		return;
	}
	ret->pinned = number_of(text, "VmPin:", 10, 0) << 10;
	if (has_ipc_lock(proc, text))
		ret->memlock = STAGE_NO_LIMIT;
}

/* The files that a hierarchy has in each folder. */
struct hierarchy {
	const char *limits[2];
	const char *usage;
	const char *reclaimable[2]; /* of memory.stat */
};

static const struct hierarchy v1 = {
	.limits = {"memory.limit_in_bytes"},
	.usage = "memory.usage_in_bytes",
	.reclaimable = {"total_inactive_file ", "total_active_file "},
};

static const struct hierarchy v2 = {
	.limits = {"memory.max", "memory.high"},
	.usage = "memory.current",
	.reclaimable = {"inactive_file ", "active_file "},
};

/* Page cache goes before anybody is killed or held up. */
static uint64_t used_in(const struct hierarchy *hierarchy, const char *folder)
{
	uint64_t used = read_number(folder, hierarchy->usage);
	char path[PATH_MAX], text[TEXT_MAX];

	if (used == STAGE_NO_LIMIT)
		return 0;
	if (snprintf(path, sizeof(path), "%s/memory.stat", folder) >=
		    (int)sizeof(path) ||
	    !read_text(path, text))
		return used;
	for (size_t i = 0; i < 2; i++) {
		uint64_t cache =
			number_of(text, hierarchy->reclaimable[i], 10, 0);

		used -= cache < used ? cache : used;
	}
	return used;
}

static uint64_t room(const struct stage_numbers *numbers)
{
	if (numbers->cgroup_limit == STAGE_NO_LIMIT)
		return STAGE_NO_LIMIT;
	return numbers->cgroup_limit > numbers->cgroup_used
		       ? numbers->cgroup_limit - numbers->cgroup_used
		       : 0;
}

static void look_in(const struct hierarchy *hierarchy, const char *folder,
		    struct stage_numbers *ret)
{
	struct stage_numbers here;

	for (size_t i = 0; i < 2 && hierarchy->limits[i]; i++) {
		here.cgroup_limit = read_number(folder, hierarchy->limits[i]);
		if (here.cgroup_limit >= V1_NONE)
			continue;
		here.cgroup_used = used_in(hierarchy, folder);
		if (room(&here) >= room(ret))
			continue;
		ret->cgroup_limit = here.cgroup_limit;
		ret->cgroup_used = here.cgroup_used;
		snprintf(ret->cgroup_file, sizeof(ret->cgroup_file),
			 "%.480s/%s", folder, hierarchy->limits[i]);
	}
}

/*
 * The group and all above it. In a container the path may be that outside, of
 * which the top alone is there: the container's own.
 */
static void look_up_from(const struct hierarchy *hierarchy, const char *top,
			 const char *group, struct stage_numbers *ret)
{
	char folder[PATH_MAX];
	size_t length = strlen(top);

	if (snprintf(folder, sizeof(folder), "%s%s", top, group) >=
	    (int)sizeof(folder))
		return;
	for (;;) {
		char *slash = strrchr(folder, '/');

		look_in(hierarchy, folder, ret);
		if (strlen(folder) <= length || !slash)
			return;
		*slash = '\0';
	}
}

static bool names_memory(const char *controllers)
{
	const char *at = strstr(controllers, "memory");

	return at && (at == controllers || at[-1] == ',') &&
	       (at[6] == '\0' || at[6] == ',');
}

static void read_cgroups(const char *proc, const char *cgroup,
			 struct stage_numbers *ret)
{
	char path[PATH_MAX], text[TEXT_MAX], v1_top[PATH_MAX];
	const char *rest;
	char *line, *save;

	ret->cgroup_limit = STAGE_NO_LIMIT;
	ret->cgroup_used = 0;
	ret->cgroup_file[0] = '\0';
	snprintf(path, sizeof(path), "%s/self/cgroup", proc);
	if (!read_text(path, text))
		return;
	snprintf(v1_top, sizeof(v1_top), "%s/memory", cgroup);
	/* 4:memory:/path, and 0::/path of version 2 */
	for (line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':');
		char *group = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!group)
			continue;
		*group++ = '\0';
		/* The top is not named twice. */
		rest = strcmp(group, "/") ? group : "";
		if (controllers[1] == '\0')
			look_up_from(&v2, cgroup, rest, ret);
		else if (names_memory(controllers + 1))
			look_up_from(&v1, v1_top, rest, ret);
	}
}

void stage_limits_read(const char *proc, const char *cgroup, uint64_t memlock,
		       struct stage_numbers *ret)
{
	char path[PATH_MAX], text[TEXT_MAX];
	uint64_t kib = STAGE_NO_LIMIT;

	snprintf(path, sizeof(path), "%s/meminfo", proc);
	if (read_text(path, text))
		kib = number_of(text, "MemAvailable:", 10, STAGE_NO_LIMIT);
	ret->available = kib == STAGE_NO_LIMIT ? STAGE_NO_LIMIT : kib << 10;
	ret->break_s = read_number(proc, "sys/fs/lease-break-time");
	if (ret->break_s == STAGE_NO_LIMIT)
		ret->break_s = 0;
	read_process(proc, memlock, ret);
	read_cgroups(proc, cgroup, ret);
}
