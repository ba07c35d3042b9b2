/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which device is this, exactly, and who drives it?
 *
 * A device's name says little: a module that was rebuilt and loaded again
 * makes a device of the same name with other bugs. The instance (trust_id.h)
 * catches that within a boot; the modules' build ids are in the identity
 * beside it, since inode numbers may come round again.
 *
 * Modules: there is no way from a soft device to its driver in sysfs (rxe0 has
 * no "device" link, or on old kernels one to the NIC below it, with the NIC's
 * driver), and the code that pages is not in the module that the link of a
 * hardware device names (mlx5_core; ODP is in mlx5_ib). So the list has all
 * modules of which ODP is known, whether they drive this device or not: one
 * that changes costs a test that wasn't needed. A driver that is built in, or
 * a live patch, shows in the kernel's release or not at all.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trust_id.h"

static const char *const modules[] = {
	"ib_core", "ib_uverbs", "rdma_rxe", "mlx5_core", "mlx5_ib",
};

/*
 * Whoever asks may have a stack of 16 KiB, all of it: buffers here are as small
 * as sysfs allows, and a path or an attribute that does not fit is as good as
 * none.
 */
#define ROOT_MAX  128
#define PATH_ROOM (ROOT_MAX + 192)
#define LINE_ROOM 160

static char root[ROOT_MAX];

void device_set_root(const char *path)
{
	snprintf(root, sizeof(root), "%s", path ? path : "");
}

/* Up to size bytes of a file below root; -1 where it cannot be read whole. */
static ssize_t read_raw(char *data, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static ssize_t read_raw(char *data, size_t size, const char *format, ...)
{
	char path[PATH_ROOM];
	size_t used = strlen(root);
	ssize_t n;
	va_list args;
	int fd;

	memcpy(path, root, used);
	va_start(args, format);
	n = vsnprintf(path + used, sizeof(path) - used, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(path) - used)
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -1;
	do
		n = read(fd, data, size); /* sysfs gives it in one piece */
	while (n < 0 && errno == EINTR);
	close(fd);
	return n < 0 || (size_t)n == size ? -1 : n;
}

/*
 * Cuts what was read at its end of line. What isn't plain text is as good as
 * none: false, and the text is empty.
 */
static bool plain_line(char *text, ssize_t length)
{
	text[length > 0 ? length : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	for (const char *p = text; *p; p++)
		if (*p < ' ' || *p > '~')
			text[0] = '\0';
	return text[0];
}

bool device_attribute(const struct ibv_device *device, const char *name,
		      char *text, size_t size)
{
	int saved_errno = errno;
	bool ok = plain_line(text,
			     read_raw(text, size, "/sys/class/infiniband/%s/%s",
				      device->name, name));

	errno = saved_errno;
	return ok;
}

/*
 * By the name of its uverbs node, where it has one: that is what opening the
 * device goes by, and the kernel never changes it. The device's own name may
 * have changed since the program looked for devices (rdma dev set ... name),
 * and may by now be another device's.
 */
bool device_instance_get(const struct ibv_device *device,
			 struct device_instance *ret)
{
	bool has_node = device->dev_name[0];
	const char *name = has_node ? device->dev_name : device->name;
	char path[PATH_ROOM];
	int saved_errno = errno;
	struct stat st;
	bool ok;
	int n;

	n = snprintf(path, sizeof(path), "%s/sys/class/%s/%s", root,
		     has_node ? "infiniband_verbs" : "infiniband", name);
	ok = n > 0 && (size_t)n < sizeof(path) && name[0] &&
	     !strchr(name, '/') && !stat(path, &st);
	if (ok)
		*ret = (struct device_instance){st.st_dev, st.st_ino};
	errno = saved_errno;
	return ok;
}

bool device_instance_same(const struct device_instance *a,
			  const struct device_instance *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/* The last part of where the device's "device/driver" link leads. */
static bool driver_name(const struct ibv_device *device, char *text,
			size_t size)
{
	char path[PATH_ROOM], target[192];
	const char *name;
	ssize_t n;

	n = snprintf(path, sizeof(path),
		     "%s/sys/class/infiniband/%s/device/driver", root,
		     device->name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return false;
	n = readlink(path, target, sizeof(target));
	if (n <= 0 || (size_t)n == sizeof(target))
		return false;
	target[n] = '\0';
	name = strrchr(target, '/');
	n = snprintf(text, size, "%s", name ? name + 1 : target);
	return n > 0 && (size_t)n < size;
}

bool device_driver_is_sound(const struct ibv_device *device)
{
	int saved_errno = errno;
	char text[128];
	bool sound;

	/*
	 * A soft device on top of a NIC may show the NIC's driver as its own.
	 * Those have a "parent" (rxe, siw), and no hca_type.
	 */
	sound = driver_name(device, text, sizeof(text)) &&
		!strcmp(text, "mlx5_core") &&
		!device_attribute(device, "parent", text, sizeof(text)) &&
		device_attribute(device, "hca_type", text, sizeof(text)) &&
		!strncmp(text, "MT", 2);
	errno = saved_errno;
	return sound;
}

struct writer {
	char *text;
	size_t size;
	size_t used;
	bool overflow;
};

static void put(struct writer *writer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void put(struct writer *writer, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(writer->text + writer->used, writer->size - writer->used,
		      format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= writer->size - writer->used)
		writer->overflow = true;
	else
		writer->used += (size_t)n;
}

static void put_modules(struct writer *writer)
{
	char text[LINE_ROOM];
	ssize_t n;

	for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
		n = read_raw(text, sizeof(text), "/sys/module/%s/srcversion",
			     modules[i]);
		plain_line(text, n);
		put(writer, "module %s source=%s build=", modules[i], text);
		n = read_raw(text, sizeof(text),
			     "/sys/module/%s/notes/.note.gnu.build-id",
			     modules[i]);
		for (ssize_t k = 0; k < n; k++)
			put(writer, "%02x", (unsigned char)text[k]);
		put(writer, "\n");
	}
}

/*
 * Which port is tested follows from the ports' states (the first that is
 * active), so these stand for it.
 */
static void put_ports(struct writer *writer, const struct ibv_device *device)
{
	char name[32], text[64];

	put(writer, "ports");
	for (unsigned int port = 1; port <= 255; port++) {
		snprintf(name, sizeof(name), "ports/%u/state", port);
		if (!device_attribute(device, name, text, sizeof(text)))
			break;
		put(writer, " %u=%.*s", port, (int)strcspn(text, ": "), text);
	}
	put(writer, "\n");
}

size_t device_identity(const struct ibv_device *device, char *text, size_t size)
{
	struct writer writer = {.text = text, .size = size};
	int saved_errno = errno;
	struct device_instance instance;
	char line[LINE_ROOM];
	bool known;

	known = plain_line(line, read_raw(line, sizeof(line),
					  "/proc/sys/kernel/random/boot_id"));
	put(&writer, "boot %s\n", known ? line : "");
	if (!plain_line(line, read_raw(line, sizeof(line),
				       "/proc/sys/kernel/osrelease")))
		known = false;
	put(&writer, "kernel %s\n", line);
	if (!device_instance_get(device, &instance))
		known = false;
	else
		put(&writer, "device %s %llu:%llu\n", device->name,
		    (unsigned long long)instance.dev,
		    (unsigned long long)instance.ino);
	if (!device_attribute(device, "node_guid", line, sizeof(line)))
		known = false;
	put(&writer, "guid %s\n", line);
	device_attribute(device, "fw_ver", line, sizeof(line));
	put(&writer, "firmware %s\n", line);
	if (!driver_name(device, line, sizeof(line)))
		line[0] = '\0';
	put(&writer, "driver %s\n", line);
	put_ports(&writer, device);
	put_modules(&writer);

	errno = saved_errno;
	return known && !writer.overflow ? writer.used : 0;
}
