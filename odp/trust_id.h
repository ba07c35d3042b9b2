/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which device is this, exactly, and who drives it? All from sysfs.
 */
#ifndef DAXMR_ODP_TRUST_ID_H
#define DAXMR_ODP_TRUST_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <infiniband/verbs.h>

/*
 * One coming of a device: a driver that is unloaded takes its device with it,
 * and what the next one makes is another kernfs node, with another inode
 * number. One stat() tells.
 */
struct device_instance {
	dev_t dev;
	ino_t ino;
};

/* False where sysfs does not show the device. A new name is no new instance. */
bool device_instance_get(const struct ibv_device *device,
			 struct device_instance *ret);
bool device_instance_same(const struct device_instance *a,
			  const struct device_instance *b);

/* Big enough for any identity; one that is not fits no verdict. */
#define DEVICE_IDENTITY_MAX 4096

/*
 * Everything a verdict depends on as lines of text: the boot, the kernel, the
 * device, its instance, GUID, firmware and port states, its driver, and the
 * source version and build id of each module that takes part. Returns the
 * length, 0 where anything that must be known is not: then nothing is to be
 * remembered.
 */
size_t device_identity(const struct ibv_device *device, char *text,
		       size_t size);

/* Whether the device is driven by a driver of the list in trust.h. */
bool device_driver_is_sound(const struct ibv_device *device);

/*
 * Reads an attribute of the device ("ports/1/gid_attrs/types/0") without the
 * newline. False, and an empty text, where it cannot be read.
 */
bool device_attribute(const struct ibv_device *device, const char *name,
		      char *text, size_t size);

/* For tests: a folder in the place of "/" for /sys and /proc. NULL: "/". */
void device_set_root(const char *path);

#endif
