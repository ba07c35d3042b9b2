/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an MR that is made later finds the shadow: window_parts.h. The
 * program's own mapping may have gone by then, or be something else.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "raw.h"
#include "reason.h"
#include "window_parts.h"

int window_view_map(struct window_view *view, struct lease *lease,
		    uint64_t offset, size_t length)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t first = offset & ~(page - 1);
	uint64_t end = (offset + length + page - 1) & ~(page - 1);
	long addr = syscall(SYS_mmap, NULL, end - first, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int r;

	if (addr == -1)
		return reason_set(-errno,
				  "no address space to map %zu bytes of a "
				  "shadow once more: %s",
				  length, strerrordesc_np(errno));
	*view = (struct window_view){
		.pages = (char *)addr,
		.length = end - first,
		.start = (char *)addr + (offset - first),
		.pid = getpid(),
	};
	r = lease_alias(lease, first, view->length, (uintptr_t)addr);
	if (r)
		window_view_unmap(view);
	return r;
}

void window_view_unmap(struct window_view *view)
{
	if (view->pages && view->pid == getpid())
		raw_unmap(view->pages, view->length);
	view->pages = NULL;
}

void window_view_keep(const struct window_view *view)
{
	if (view->pages && view->pid == getpid())
		raw_keep_to_us(view->pages, view->length);
}
