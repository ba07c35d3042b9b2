/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The preload is looked for in three places:
 *
 *  - beside this executable: a build folder;
 *  - where it lies relative to this executable when both are installed: also
 *    right for a tree that was moved or installed with DESTDIR;
 *  - where it was to be installed, for an executable that was copied away.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "run_preload.h"

/* The folder of this executable, symbolic links resolved; NULL without /proc.
 */
static char *own_folder(void)
{
	char *path = realpath("/proc/self/exe", NULL);

	if (path)
		*strrchr(path, '/') = '\0';
	return path;
}

/* folder/below/PRELOAD_NAME if it is there, its real path. */
static char *look_in(const char *folder, const char *below)
{
	char *path, *found;

	if (asprintf(&path, "%s/%s/%s", folder, below, PRELOAD_NAME) < 0)
		return NULL;
	found = realpath(path, NULL);
	free(path);
	if (found && access(found, R_OK) < 0) {
		free(found);
		found = NULL;
	}
	return found;
}

char *preload_find(void)
{
	char *folder = own_folder(), *found = NULL;

	if (folder) {
		found = look_in(folder, ".");
		if (!found)
			found = look_in(folder, PRELOAD_RELATIVE_DIR);
	}
	if (!found)
		found = look_in("", PRELOAD_DIR);
	if (!found && folder)
		cli_error("%s is missing: neither in %s nor in %s/%s nor in "
			  "%s; build or install it beside daxmr",
			  PRELOAD_NAME, folder, folder, PRELOAD_RELATIVE_DIR,
			  PRELOAD_DIR);
	else if (!found)
		cli_error("%s is missing: not in %s, and without /proc there "
			  "is no telling where this daxmr lies",
			  PRELOAD_NAME, PRELOAD_DIR);
	free(folder);
	return found;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Whether LD_PRELOAD has this library, or another build of it: two would count
 * every registration twice. */
static int is_there(const char *list, const char *path)
{
	char *copy = strdup(list), *rest = copy, *entry;
	int found = 0;

	while (copy && !found && (entry = strsep(&rest, " :"))) {
		if (strcmp(base_name(entry), PRELOAD_NAME) != 0)
			continue;
		found = 1;
		if (strcmp(entry, path) != 0)
			cli_error("warning: LD_PRELOAD has %s already: that "
				  "one is used, not %s",
				  entry, path);
	}
	free(copy);
	return found;
}

int preload_add(const char *path)
{
	const char *old = getenv("LD_PRELOAD");
	char *list;
	int r;

	/* what separates its entries, and what the loader expands */
	if (strpbrk(path, " :$")) {
		cli_error("%s cannot be put in LD_PRELOAD, which knows no "
			  "paths with a space, a colon or a dollar sign: "
			  "build or install daxmr in another folder",
			  path);
		return CLI_NO_PRELOAD;
	}
	if (!old || !*old) {
		r = setenv("LD_PRELOAD", path, 1);
	} else if (is_there(old, path)) {
		return 0;
	} else {
		if (asprintf(&list, "%s:%s", old, path) < 0)
			list = NULL;
		r = list ? setenv("LD_PRELOAD", list, 1) : -1;
		free(list);
	}
	if (r < 0) {
		cli_error("cannot set LD_PRELOAD: %s", strerror(errno));
		return CLI_NO_PRELOAD;
	}
	return 0;
}
