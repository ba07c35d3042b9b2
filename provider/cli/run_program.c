/* SPDX-License-Identifier: BSD-2-Clause */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli.h"
#include "run_program.h"

/* "#!" chains that the kernel follows. */
#define SCRIPT_DEPTH 4

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	       access(path, X_OK) == 0;
}

/* The file that execvp() will find; false: none, or it is not worth a look. */
static bool find_program(const char *name, char *path, size_t size)
{
	const char *list = getenv("PATH"), *end;
	int n;

	if (strchr(name, '/')) {
		n = snprintf(path, size, "%s", name);
		return n > 0 && (size_t)n < size && is_program(path);
	}
	if (!list)
		list = "/bin:/usr/bin";
	for (;; list = end + 1) {
		end = strchrnul(list, ':');
		n = snprintf(path, size, "%.*s%s%s", (int)(end - list), list,
			     end == list ? "" : "/", name);
		if (n > 0 && (size_t)n < size && is_program(path))
			return true;
		if (!*end)
			return false;
	}
}

static ssize_t read_start(const char *path, void *data, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, data, size);
	close(fd);
	return n;
}

/* Replaces path by the interpreter that a script names; false: no script. */
static bool follow_script(char *path, size_t size)
{
	char line[PATH_MAX], *name;
	ssize_t n = read_start(path, line, sizeof(line) - 1);

	if (n < 2 || line[0] != '#' || line[1] != '!')
		return false;
	line[n] = '\0';
	name = line + 2 + strspn(line + 2, " \t");
	name[strcspn(name, " \t\n")] = '\0';
	if (!*name || strlen(name) >= size)
		return false;
	strcpy(path, name);
	return true;
}

/* As the kernel decides AT_SECURE (bprm_creds_from_file). */
static void warn_ids(const char *path)
{
	struct statvfs fs;
	struct stat st;
	const char *because = NULL;

	if (stat(path, &st) < 0 || statvfs(path, &fs) < 0)
		return;
	if ((fs.f_flag & ST_NOSUID) ||
	    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		because = "is setuid";
	else if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) &&
		 st.st_gid != getgid())
		because = "is setgid";
	else if (getuid() != 0 &&
		 getxattr(path, "security.capability", NULL, 0) > 0)
		because = "has file capabilities";
	if (because)
		cli_error("warning: %s %s: the loader ignores the preload, and "
			  "daxmr sees nothing of this program; take that off a "
			  "copy of it, or run it as the user it changes to",
			  path, because);
}

static bool same_machine(const ElfW(Ehdr) * a, const ElfW(Ehdr) * b)
{
	return a->e_ident[EI_CLASS] == b->e_ident[EI_CLASS] &&
	       a->e_ident[EI_DATA] == b->e_ident[EI_DATA] &&
	       a->e_machine == b->e_machine;
}

static bool is_elf(const ElfW(Ehdr) * header, ssize_t n)
{
	return n == (ssize_t)sizeof(*header) &&
	       memcmp(header->e_ident, ELFMAG, SELFMAG) == 0;
}

/* Whether the program asks for a loader; true also where that is not seen. */
static bool has_loader(const char *path, const ElfW(Ehdr) * header)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), i;
	const char *base = strrchr(path, '/');
	bool found = false, seen = true;
	ElfW(Phdr) segment;

	/* the loader itself, called by name, needs none and loads preloads */
	base = base ? base + 1 : path;
	if (fd < 0 || (strncmp(base, "ld", 2) == 0 && strstr(base, ".so"))) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	for (i = 0; i < header->e_phnum && seen && !found; i++) {
		seen = pread(fd, &segment, sizeof(segment),
			     (off_t)(header->e_phoff +
				     (ElfW(Off))i * header->e_phentsize)) ==
		       (ssize_t)sizeof(segment);
		found = seen && segment.p_type == PT_INTERP;
	}
	close(fd);
	return found || !seen;
}

static void warn_elf(const char *path, const char *preload)
{
	ElfW(Ehdr) program, ours;

	if (!is_elf(&program, read_start(path, &program, sizeof(program))) ||
	    !is_elf(&ours, read_start(preload, &ours, sizeof(ours))))
		return;
	if (!same_machine(&program, &ours))
		cli_error("warning: %s is for another kind of machine (%s-bit, "
			  "ELF machine %d) than %s: the loader ignores the "
			  "preload, and daxmr sees nothing of this program",
			  path,
			  program.e_ident[EI_CLASS] == ELFCLASS32 ? "32" : "64",
			  program.e_machine, preload);
	else if (!has_loader(path, &program))
		cli_error("warning: %s is statically linked: no loader, no "
			  "preload, and daxmr sees nothing of this program; "
			  "link it dynamically",
			  path);
}

void program_warn(const char *name, const char *preload)
{
	char path[PATH_MAX];
	int depth;

	if (!find_program(name, path, sizeof(path)))
		return;
	/* the ids of a script's file are ignored, its interpreter's count */
	for (depth = 0; depth < SCRIPT_DEPTH; depth++)
		if (!follow_script(path, sizeof(path)))
			break;
	warn_ids(path);
	warn_elf(path, preload);
}
