/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

static const char *const kind_names[MEMORY_KINDS] = {
	[MEMORY_UNMAPPED] = "unmapped addresses",
	[MEMORY_ANONYMOUS] = "anonymous memory",
	[MEMORY_MEMFD] = "memfd",
	[MEMORY_TMPFS] = "tmpfs file",
	[MEMORY_HUGETLB] = "hugetlbfs memory",
	[MEMORY_DEVDAX] = "device-dax",
	[MEMORY_DEVICE] = "device memory",
	[MEMORY_FSDAX] = "fs-dax file",
	[MEMORY_FSDAX_PRIVATE] = "private mapping of an fs-dax file",
	[MEMORY_PAGECACHE] = "page-cache file",
	[MEMORY_PAGECACHE_PRIVATE] = "private mapping of a page-cache file",
	[MEMORY_SHADOW] = "shadow of a staged file",
	[MEMORY_UNKNOWN] = "file that cannot be looked at",
};

const char *memory_kind_name(enum memory_kind kind)
{
	return kind_names[kind];
}

char *memory_kinds_names(unsigned int kinds, char *text, size_t size)
{
	size_t used = 0;
	int kind;

	text[0] = '\0';
	for (kind = 0; kind < MEMORY_KINDS && used < size; kind++) {
		if (!(kinds & MEMORY_BIT(kind)))
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s",
					 used ? " and " : "", kind_names[kind]);
	}
	return text;
}

/* Which of two kinds a sentence about a failed registration should name. */
static int trouble(enum memory_kind kind)
{
	unsigned int bit = MEMORY_BIT(kind);

	if (bit & MEMORY_FSDAX_BITS)
		return 4;
	if (bit & MEMORY_PAGECACHE_BITS)
		return 3;
	if (kind == MEMORY_UNKNOWN || kind == MEMORY_SHADOW)
		return 2;
	return kind == MEMORY_TMPFS || kind == MEMORY_HUGETLB;
}

struct look {
	struct memory *memory;
	uintptr_t next; /* everything below it has been seen */
	struct memory_file last;
};

static int add_mapping(const struct vma *vma, void *arg)
{
	struct look *look = arg;
	struct memory *memory = look->memory;
	const struct memory_file *file = &look->last;
	uintptr_t end = vma->end < memory->end ? vma->end : memory->end;

	if (vma->end <= look->next) /* a walk that was begun again */
		return 0;
	if (vma->start > look->next)
		memory->kinds |= MEMORY_BIT(MEMORY_UNMAPPED);
	look->next = vma->end;
	memory->mappings++;
	if (!vma->writable)
		memory->read_only = true;
	if (!vma->readable)
		memory->unreadable = true;
	/* System V memory has its id for an inode number, and ids start at 0 */
	if (vma->ino == 0 && vma->name[0] != '/') {
		memory->kinds |= MEMORY_BIT(MEMORY_ANONYMOUS);
		return 0;
	}
	backing_look(vma, &look->last);
	memory->kinds |= MEMORY_BIT(file->kind);
	if (!trouble(file->kind))
		return 0;
	if (file->kind != MEMORY_UNKNOWN && file->kind != MEMORY_SHADOW &&
	    vma->offset + (end - vma->start) > ((file->size + 4095) & ~4095ULL))
		memory->beyond_eof = true;
	if (trouble(file->kind) > trouble(memory->file.kind))
		memory->file = *file;
	return 0;
}

int memory_look_with(memory_reader *reader, const void *addr, size_t length,
		     struct memory *ret)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)addr;
	struct memory memory;
	struct look look;
	int r;

	memset(&memory, 0, sizeof(memory));
	memory.start = first & ~(page - 1);
	/* ibv_reg_mr(pd, NULL, SIZE_MAX): an implicit MR, all addresses */
	if (length > UINTPTR_MAX - first || first + length > UINTPTR_MAX - page)
		memory.end = first ? memory.start : UINTPTR_MAX & ~(page - 1);
	else
		memory.end = (first + length + page - 1) & ~(page - 1);
	if (length == 0)
		memory.end = memory.start;

	look.memory = &memory;
	look.next = memory.start;
	if (memory.start < memory.end) {
		r = reader(memory.start, memory.end, add_mapping, &look);
		if (r < 0)
			return r;
	}
	if (look.next < memory.end || memory.start >= memory.end)
		memory.kinds |= MEMORY_BIT(MEMORY_UNMAPPED);
	*ret = memory;
	return 0;
}

int memory_look(const void *addr, size_t length, struct memory *ret)
{
	return memory_look_with(vma_each, addr, length, ret);
}
