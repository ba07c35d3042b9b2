/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies where a pinned region is: pinned_parts.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pinned_parts.h"
#include "reason.h"
#include "refusal.h"
#include "vma.h"

struct finding {
	uintptr_t start;
	uintptr_t end;
	uintptr_t next; /* everything below it has been seen */
	struct pinned_file *file;
};

static int differs(void)
{
	return EXDEV;
}

/* All of it has to be one piece of one file. */
static int add_mapping(const struct vma *vma, void *arg)
{
	struct finding *finding = arg;
	struct pinned_file *file = finding->file;
	struct memory_file backing;
	uint64_t offset;

	if (vma->end <= finding->next) /* a walk that was begun again */
		return 0;
	if (vma->start > finding->next || !vma->shared)
		return differs();
	file->is_read_only |= !vma->writable;
	offset = vma->offset + (finding->next - vma->start);
	if (finding->next == finding->start) {
		backing_look(vma, &backing);
		file->offset = offset;
		file->dev = makedev(vma->dev_major, vma->dev_minor);
		file->ino = vma->ino;
		file->is_dax = backing.kind == MEMORY_FSDAX;
		snprintf(file->name, sizeof(file->name), "%.*s",
			 (int)sizeof(file->name) - 1, backing.name);
	} else if (file->dev != makedev(vma->dev_major, vma->dev_minor) ||
		   file->ino != vma->ino ||
		   offset != file->offset + (finding->next - finding->start)) {
		return differs();
	}
	finding->next = vma->end;
	return 0;
}

static int see_mapping(const struct vma *vma, void *arg)
{
	struct finding *finding = arg;
	const struct pinned_file *file = finding->file;

	if (vma->end <= finding->next) /* a walk that was begun again */
		return 0;
	if (vma->start > finding->next || !vma->shared ||
	    file->dev != makedev(vma->dev_major, vma->dev_minor) ||
	    file->ino != vma->ino ||
	    vma->offset + (finding->next - vma->start) !=
		    file->offset + (finding->next - finding->start))
		return differs();
	finding->next = vma->end;
	return 0;
}

int pinned_still_there(const struct pinned *pinned, size_t *ret)
{
	uintptr_t start = (uintptr_t)pinned->addr, end = start + pinned->length;
	struct pinned_file file = pinned->file;
	struct finding finding = {start, end, start, &file};
	int r = vma_each(start, end, see_mapping, &finding);

	if (r < 0)
		return r;
	*ret = finding.next < end ? finding.next - start : pinned->length;
	return 0;
}

int pinned_find_file(uintptr_t start, uintptr_t end, struct pinned_file *ret)
{
	struct finding finding = {start, end, start, ret};
	int r = vma_each(start, end, add_mapping, &finding);

	if (r < 0)
		return reason_set_kind(
			REASON_UNSEEN, r,
			"what is mapped cannot be seen (/proc: %s)",
			strerrordesc_np(-r));
	if (r || finding.next < end)
		return reason_set_kind(
			REFUSAL_SEVERAL, -EOPNOTSUPP,
			"the range is not one piece of one file, "
			"mapped shared: register each piece apart");
	return 0;
}

size_t pinned_surviving(const struct pinned *pinned)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)pinned->addr & ~(page - 1);
	uintptr_t end = (uintptr_t)pinned->addr + pinned->length;
	size_t low = 0, high = (end - first + page - 1) / page, middle;

	/* low pages are there; it is to be found whether more are. */
	while (low < high) {
		middle = low + (high - low + 1) / 2;
		if (syscall(SYS_madvise, first + (middle - 1) * page, page,
			    MADV_POPULATE_READ) == 0)
			low = middle;
		else
			high = middle - 1;
	}
	if (first + low * page <= (uintptr_t)pinned->addr)
		return 0;
	return first + low * page >= end
		       ? pinned->length
		       : first + low * page - (uintptr_t)pinned->addr;
}
