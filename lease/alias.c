/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A second mapping of shadows: alias.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alias.h"
#include "raw.h"
#include "reason.h"
#include "staged_parts.h"

static const struct staged *find(const struct lease *lease, uint64_t offset)
{
	const struct staged *staged = lease->staged;

	while (staged && (staged->offset > offset || staged->end <= offset))
		staged = staged->next;
	return staged;
}

/* No child has it, or its writable mapping would outlive the program's. */
static int map_one(const struct staged *staged, uint64_t offset,
		   uint64_t length, uintptr_t addr)
{
	if (syscall(SYS_mmap, addr, length, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, staged->shadow_fd,
		    offset - staged->offset) == -1)
		return -errno;
	syscall(SYS_munlock, addr, length);
	return raw_keep_to_us((void *)addr, length) ? -errno : 0;
}

int alias_map(const struct lease *lease, uint64_t offset, uint64_t length,
	      uintptr_t addr)
{
	uint64_t end = offset + length;
	int r = 0;

	while (!r && offset < end) {
		const struct staged *staged = find(lease, offset);
		uint64_t size = end - offset;

		if (!staged)
			return reason_set(-ENOENT, "a part has no shadow");
		if (size > staged->end - offset)
			size = staged->end - offset;
		r = map_one(staged, offset, size, addr);
		offset += size;
		addr += size;
	}
	return r ? reason_set(r, "no second mapping of a shadow: %s",
			      strerrordesc_np(-r))
		 : 0;
}
