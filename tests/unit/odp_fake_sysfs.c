/* SPDX-License-Identifier: BSD-2-Clause */
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "odp_fake_sysfs.h"
#include "trust_file.h"
#include "trust_id.h"

static char root[64];
static char trust_folder[PATH_MAX];
static char device[32];
static int reloads, devices;

static void path_of(char *path, size_t size, const char *name)
{
	if (!strncmp(name, "@/", 2))
		snprintf(path, size, "%s/sys/class/infiniband/%s/%s", root,
			 device, name + 2);
	else
		snprintf(path, size, "%s/%s", root, name);
}

static void make_parents(char *path)
{
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
}

void sysfs_put(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *file;

	path_of(path, sizeof(path), name);
	make_parents(path);
	file = fopen(path, "w");
	if (!file)
		abort();
	fputs(text, file);
	fclose(file);
}

void sysfs_remove(const char *name)
{
	char path[PATH_MAX];

	path_of(path, sizeof(path), name);
	if (unlink(path))
		abort();
}

void sysfs_link(const char *name, const char *target)
{
	char path[PATH_MAX];

	path_of(path, sizeof(path), name);
	make_parents(path);
	if (symlink(target, path))
		abort();
}

static void put_device(void)
{
	sysfs_put("@/node_guid", "0202:03ff:fe04:0506\n");
	sysfs_put("@/fw_ver", "1.2.3\n");
	sysfs_put("@/ports/1/state", "4: ACTIVE\n");
}

/* The old one is kept: its inode number must not come again. */
void sysfs_reload_device(void)
{
	char old[PATH_MAX], new[PATH_MAX];

	path_of(old, sizeof(old), "@/");
	*strrchr(old, '/') = '\0';
	snprintf(new, sizeof(new), "%s/gone%d", root, reloads++);
	if (rename(old, new))
		abort();
	put_device();
}

int sysfs_setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/odp-test-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(device, sizeof(device), "fake%d", devices++);
	put_device();
	sysfs_put("sys/module/rdma_rxe/srcversion", "0123456789ABCDEF\n");
	sysfs_put("sys/module/rdma_rxe/notes/.note.gnu.build-id", "\1\2\3");
	sysfs_put("proc/sys/kernel/osrelease", "7.2.12-test\n");
	sysfs_put("proc/sys/kernel/random/boot_id",
		  "9e0a3b1c-0000-4000-8000-000000000001\n");
	device_set_root(root);
	snprintf(trust_folder, sizeof(trust_folder), "%s/daxmr", root);
	trust_file_set_folder(trust_folder);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int sysfs_teardown(void **state)
{
	(void)state;
	device_set_root(NULL);
	trust_file_set_folder(NULL);
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *sysfs_root(void)
{
	return root;
}

const char *sysfs_device(void)
{
	return device;
}

const char *sysfs_trust_folder(void)
{
	return trust_folder;
}
