/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Verdicts that outlast a process: trust_file.h has format and rules.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trust_file.h"
#include "trust_id.h"
#include "trust_mem.h"

#define HEADER	 "daxmr odp trust 1\n"
#define FILE_MAX (DEVICE_IDENTITY_MAX + 1024)

/* "odp-trust-" and a device's name; before its rename a dot and a number too */
#define NAME_ROOM      (16 + IBV_SYSFS_NAME_MAX)
#define TEMPORARY_ROOM (NAME_ROOM + 24)

/* Cut in two: the name follows the parent's NUL. */
static char folder_for_tests[PATH_MAX];
static const char *name_for_tests;

void trust_file_set_folder(const char *path)
{
	char *slash;

	snprintf(folder_for_tests, sizeof(folder_for_tests), "%s",
		 path ? path : "");
	slash = strrchr(folder_for_tests, '/');
	name_for_tests = slash && slash != folder_for_tests ? slash + 1 : NULL;
	if (name_for_tests)
		*slash = '\0';
}

/* Ours, and nobody else can write to it. */
static bool is_safe(int fd, mode_t type)
{
	struct stat st;

	return !fstat(fd, &st) && (st.st_mode & S_IFMT) == type &&
	       st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/*
 * The folder that the files are in, or -1. Its parent must be as safe as it
 * is: who can write there could put another folder of ours in its place. The
 * rest of the path was chosen by whoever set XDG_RUNTIME_DIR, which in a setuid
 * program counts as not set.
 */
static int open_folder(bool create)
{
	const char *parent = "/run", *name = "daxmr";
	const int flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int parent_fd, fd;

	if (name_for_tests) {
		parent = folder_for_tests;
		name = name_for_tests;
	} else if (geteuid() != 0) {
		parent = secure_getenv("XDG_RUNTIME_DIR");
		if (!parent || parent[0] != '/')
			return -1;
	}
	parent_fd = open(parent, O_RDONLY | flags);
	if (parent_fd < 0)
		return -1;
	if (!is_safe(parent_fd, S_IFDIR)) {
		close(parent_fd);
		return -1;
	}
	fd = openat(parent_fd, name, O_RDONLY | flags);
	if (fd < 0 && errno == ENOENT && create) {
		mkdirat(parent_fd, name, 0700); /* or another process did */
		fd = openat(parent_fd, name, O_RDONLY | flags);
	}
	close(parent_fd);
	if (fd >= 0 && !is_safe(fd, S_IFDIR)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool file_name(const char *device_name, char *text, size_t size)
{
	int n = snprintf(text, size, "odp-trust-%s", device_name);

	return n > 0 && (size_t)n < size && !strchr(device_name, '/');
}

/* Steps over a text that has to be there. */
static bool skip(const char **at, const char *text)
{
	size_t length = strlen(text);

	if (strncmp(*at, text, length) != 0)
		return false;
	*at += length;
	return true;
}

/* Decimal digits and the end of the line, up to a limit. */
static bool number(const char **at, unsigned long limit, unsigned long *ret)
{
	unsigned long value = 0;
	const char *p = *at;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = 10 * value + (unsigned long)(*p - '0');
		if (value > limit)
			return false;
	}
	if (*p != '\n')
		return false;
	*at = p + 1;
	*ret = value;
	return true;
}

static bool parse(const char *at, const char *identity, struct odp_trust *ret)
{
	struct odp_trust trust = {.from_cache = true};
	unsigned long port, cases, time_us;
	size_t length;

	if (!skip(&at, HEADER) || !skip(&at, identity))
		return false;
	if (skip(&at, "verdict right\n"))
		trust.verdict = ODP_RIGHT;
	else if (skip(&at, "verdict wrong\n"))
		trust.verdict = ODP_WRONG;
	else
		return false;
	if (skip(&at, "iova right\n"))
		trust.iova_right = true;
	else if (!skip(&at, "iova wrong\n"))
		return false;
	if (!skip(&at, "port ") || !number(&at, UINT8_MAX, &port) ||
	    !skip(&at, "cases ") || !number(&at, UINT_MAX, &cases) ||
	    !skip(&at, "time_us ") || !number(&at, UINT_MAX, &time_us) ||
	    !skip(&at, "seen "))
		return false;
	length = strcspn(at, "\n");
	if (length >= sizeof(trust.seen))
		return false;
	for (size_t i = 0; i < length; i++)
		if (at[i] < ' ' || at[i] > '~')
			return false;
	memcpy(trust.seen, at, length);
	at += length;
	if (strcmp(at, "\nend\n") != 0)
		return false;
	trust.port = (uint8_t)port;
	trust.cases = (unsigned int)cases;
	trust.time_us = (unsigned int)time_us;
	*ret = trust;
	return true;
}

/* All of a small file as a string; false where it is not small, or not text. */
static bool read_text(int fd, char *text, size_t size)
{
	size_t used = 0;

	for (;;) {
		ssize_t n = read(fd, text + used, size - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (!n)
			break;
		used += (size_t)n;
		if (used == size)
			return false;
	}
	text[used] = '\0';
	return strlen(text) == used;
}

bool trust_file_load(const char *device_name, const char *identity,
		     struct odp_trust *ret)
{
	/* Not on the stack, which may be a small one. */
	char *text = memory_map(FILE_MAX);
	char name[NAME_ROOM];
	int saved_errno = errno;
	bool ok = false;
	int folder, fd;

	folder = text ? open_folder(false) : -1;
	if (folder >= 0 && file_name(device_name, name, sizeof(name))) {
		/* O_NONBLOCK: a FIFO in its place must not hold us up. */
		fd = openat(folder, name,
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
				    O_CLOEXEC);
		if (fd >= 0) {
			ok = is_safe(fd, S_IFREG) &&
			     read_text(fd, text, FILE_MAX) &&
			     parse(text, identity, ret);
			close(fd);
		}
	}
	if (folder >= 0)
		close(folder);
	memory_unmap(text, FILE_MAX);
	errno = saved_errno;
	return ok;
}

static bool write_text(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t n = write(fd, text, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		length -= (size_t)n;
	}
	return true;
}

/* A new file beside the right one, then over it. */
static void replace(int folder, const char *name, const char *text,
		    size_t length)
{
	char temporary[TEMPORARY_ROOM];
	uint64_t random;
	bool ok;
	int fd, n;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint64_t)getpid();
	n = snprintf(temporary, sizeof(temporary), ".%s.%016llx", name,
		     (unsigned long long)random);
	if (n < 0 || (size_t)n >= sizeof(temporary))
		return;
	fd = openat(folder, temporary,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	ok = write_text(fd, text, length);
	if (close(fd))
		ok = false;
	if (!ok || renameat(folder, temporary, folder, name))
		unlinkat(folder, temporary, 0);
}

void trust_file_store(const char *device_name, const char *identity,
		      const struct odp_trust *trust)
{
	int saved_errno = errno;
	char name[NAME_ROOM];
	int folder, n;
	char *text;

	if (trust->verdict == ODP_NO_VERDICT ||
	    !file_name(device_name, name, sizeof(name)))
		return;
	text = memory_map(FILE_MAX);
	if (!text) {
		errno = saved_errno;
		return;
	}
	n = snprintf(text, FILE_MAX,
		     HEADER "%sverdict %s\niova %s\nport %u\ncases %u\n"
			    "time_us %u\nseen %s\nend\n",
		     identity, odp_verdict_name(trust->verdict),
		     trust->iova_right ? "right" : "wrong", trust->port,
		     trust->cases, trust->time_us, trust->seen);
	folder = n > 0 && n < FILE_MAX ? open_folder(true) : -1;
	if (folder >= 0) {
		replace(folder, name, text, (size_t)n);
		close(folder);
	}
	memory_unmap(text, FILE_MAX);
	errno = saved_errno;
}
