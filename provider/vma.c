/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdatomic.h>

#include "vma.h"

int vma_each(uintptr_t start, uintptr_t end, vma_fn *fn, void *arg)
{
	static atomic_bool no_ioctl;
	int r;

	/*
	 * Whatever keeps the ioctl from answering (an older kernel, a sandbox),
	 * nothing has been called back then, and the text says the same.
	 */
	if (!atomic_load_explicit(&no_ioctl, memory_order_relaxed)) {
		r = vma_each_ioctl(start, end, fn, arg);
		if (r >= 0)
			return r;
		if (r == -ENOTTY)
			atomic_store_explicit(&no_ioctl, true,
					      memory_order_relaxed);
	}
	return vma_each_text(start, end, fn, arg);
}
