/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mappings of this process: mapping.h.
 *
 * /proc/thread-self, not /proc/self: a first thread that has ended has no
 * mappings to show there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "lines.h"
#include "mapping_parts.h"
#include "raw.h"
#include "reason.h"

/* Of Linux 6.11, <linux/fs.h>. */
struct query {
	uint64_t size;
	uint64_t flags;
	uint64_t addr;
	uint64_t start;
	uint64_t end;
	uint64_t vma_flags;
	uint64_t page_size;
	uint64_t offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t name_size;
	uint32_t build_id_size;
	uint64_t name_addr;
	uint64_t build_id_addr;
};

/* What stands before the name, and the name with its newlines as \012. */
#define LINE_MAX_USED (128 + MAPPING_NAME_MAX)

#define QUERY	       _IOWR('f', 17, struct query)
#define QUERY_READABLE 0x01
#define QUERY_WRITABLE 0x02
#define QUERY_EXEC     0x04
#define QUERY_SHARED   0x08
#define QUERY_OR_NEXT  0x10
#define QUERY_OF_FILES 0x20

/* -ENOTTY: an older kernel. */
static int ask(int fd, uint64_t flags, uintptr_t addr, struct mapping *ret,
	       char *name)
{
	struct query query = {
		.size = sizeof(query),
		.flags = flags,
		.addr = addr,
		.name_addr = (uintptr_t)name,
		.name_size = name ? MAPPING_NAME_MAX : 0,
	};

	if (ioctl(fd, QUERY, &query))
		return -errno;
	*ret = (struct mapping){
		.start = query.start,
		.end = query.end,
		.offset = query.offset,
		.dev = makedev(query.dev_major, query.dev_minor),
		.ino = query.inode,
		.is_shared = query.vma_flags & QUERY_SHARED,
		.protection =
			(query.vma_flags & QUERY_READABLE ? PROT_READ : 0) |
			(query.vma_flags & QUERY_WRITABLE ? PROT_WRITE : 0) |
			(query.vma_flags & QUERY_EXEC ? PROT_EXEC : 0),
	};
	if (name && !query.name_size)
		name[0] = '\0';
	return 0;
}

/* "START-END rwxs OFFSET MAJOR:MINOR INODE   NAME" */
bool mapping_parse(const char *line, struct mapping *ret, const char **ret_name)
{
	unsigned int major, minor;
	uint64_t offset, ino;
	uintptr_t start, end;
	char mode[5];
	int used = 0;

	if (sscanf(line,
		   "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %x:%x %" SCNu64
		   " %n",
		   &start, &end, mode, &offset, &major, &minor, &ino,
		   &used) < 7)
		return false;
	*ret = (struct mapping){
		.start = start,
		.end = end,
		.offset = offset,
		.dev = makedev(major, minor),
		.ino = ino,
		.is_shared = mode[3] == 's',
		.protection = (mode[0] == 'r' ? PROT_READ : 0) |
			      (mode[1] == 'w' ? PROT_WRITE : 0) |
			      (mode[2] == 'x' ? PROT_EXEC : 0),
	};
	*ret_name = line + used;
	return true;
}

/* A newline in a path is shown as \012. */
static void copy_name(char *name, const char *text)
{
	size_t used = 0;

	while (*text && *text != '\n' && used < MAPPING_NAME_MAX - 1) {
		bool is_newline = !strncmp(text, "\\012", 4);

		name[used++] = is_newline ? '\n' : *text;
		text += is_newline ? 4 : 1;
	}
	name[used] = '\0';
}

/* Reads no further than the address, so that what it says is new. */
static int read_up_to(uintptr_t addr, struct mapping *ret, char *name)
{
	char line[LINE_MAX_USED];
	struct mapping mapping = {0};
	const char *shown = "";
	struct lines lines;
	int r = lines_open(&lines, "/proc/thread-self/maps");

	if (r)
		return r;
	while (mapping.end <= addr && lines_next(&lines, line, sizeof(line)))
		if (!mapping_parse(line, &mapping, &shown))
			break;
	lines_close(&lines);
	if (mapping.start > addr || addr >= mapping.end)
		return -EFAULT;
	if (name)
		copy_name(name, shown);
	*ret = mapping;
	return 0;
}

int mapping_at(uintptr_t addr, struct mapping *ret, char *name)
{
	int saved_errno = errno, r;
	int fd = raw_open(AT_FDCWD, "/proc/thread-self/maps", O_RDONLY);

	r = fd < 0 ? -errno : ask(fd, 0, addr, ret, name);
	if (fd >= 0)
		raw_close(fd);
	if (r == -ENOTTY)
		r = read_up_to(addr, ret, name);
	else if (r == -ENOENT)
		r = -EFAULT;
	errno = saved_errno;
	return r;
}

int mapping_refuse(int error)
{
	return reason_set_kind(
		REASON_UNSEEN, error,
		"what the program has mapped cannot be seen (/proc: "
		"%s): see to it that /proc can be read and "
		"descriptors are left",
		strerrordesc_np(-error));
}

int mapping_next(int fd, uintptr_t addr, struct mapping *ret)
{
	return ask(fd, QUERY_OR_NEXT | QUERY_OF_FILES, addr, ret, NULL);
}

void mapping_link(const struct mapping *mapping, char *text)
{
	snprintf(text, MAPPING_LINK_MAX,
		 "/proc/self/map_files/%" PRIxPTR "-%" PRIxPTR, mapping->start,
		 mapping->end);
}

/*
 * The kernel's answer to mprotect() on a second mapping of the page, which has
 * the first one's description and rights. (The permissions of the links in
 * map_files would say so too, but those of a mapping that was there before are
 * remembered for the next at the same address.)
 */
bool mapping_may_write(uintptr_t addr)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int saved_errno = errno;
	bool may_write = true;
	long twin;

	twin = syscall(SYS_mremap, addr & ~(page - 1), 0, page, MREMAP_MAYMOVE,
		       NULL);
	if (twin != -1) {
		may_write = !syscall(SYS_mprotect, twin, page,
				     PROT_READ | PROT_WRITE) ||
			    errno != EACCES;
		raw_unmap((void *)twin, page);
	}
	errno = saved_errno;
	return may_write;
}
