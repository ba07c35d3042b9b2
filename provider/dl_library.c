/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#include "dl_library.h"
#include "dl_real.h"
#include "raw.h"

struct search {
	const struct dl_library *library;
	char *path;
};

static int find_path(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;
	const char *base = strrchr(info->dlpi_name, '/');
	size_t length = strlen(search->library->name);

	(void)size;
	base = base ? base + 1 : info->dlpi_name;
	if (strncmp(base, search->library->name, length) != 0 ||
	    (base[length] != '.' && base[length] != '-'))
		return 0;
	/* no malloc() here: a thread may be in it that waits for this one */
	search->path = raw_map_memory(PATH_MAX, 0);
	if (search->path == MAP_FAILED)
		search->path = NULL;
	else
		snprintf(search->path, PATH_MAX, "%s", info->dlpi_name);
	return 1;
}

void *dl_library_open(const struct dl_library *library)
{
	void *handle = dlopen(library->soname, RTLD_LAZY | RTLD_NOLOAD);
	struct search search = {.library = library};

	if (handle)
		return handle;
	/* not from within the callback, which holds a lock of the loader's */
	dl_iterate_phdr(find_path, &search);
	if (!search.path)
		return NULL;
	handle = dlopen(search.path, RTLD_LAZY | RTLD_NOLOAD);
	raw_unmap(search.path, PATH_MAX);
	if (handle &&
	    !dl_real_dlvsym(handle, library->symbol, library->version)) {
		dlclose(handle);
		handle = NULL;
	}
	return handle;
}
