/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A folder that odp/ takes for "/": as much of /sys and /proc as it reads.
 */
#ifndef DAXMR_TESTS_ODP_FAKE_SYSFS_H
#define DAXMR_TESTS_ODP_FAKE_SYSFS_H

/* The folder, new, with the fake device in it. For cmocka. */
int sysfs_setup(void **state);
int sysfs_teardown(void **state);

const char *sysfs_root(void);

/*
 * The name of the device: another one in each test, since a process remembers
 * devices.
 */
const char *sysfs_device(void);

/*
 * A file below the folder, with the folders above it. A name that starts with
 * "@/" is one below the device's own folder.
 */
void sysfs_put(const char *name, const char *text);
void sysfs_remove(const char *name);
void sysfs_link(const char *name, const char *target);

/* The device goes and another of the same name comes. */
void sysfs_reload_device(void);

/* Where the trust files are: no folder until the first is written. */
const char *sysfs_trust_folder(void);

#endif
