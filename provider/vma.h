/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mappings of this process, one at a time, as the kernel tells them.
 *
 * Two readers give the same answers: PROCMAP_QUERY on /proc/self/maps (Linux
 * 6.11 on: one ioctl per mapping looked at, however many there are) and the
 * text of /proc/self/maps (every kernel; its cost grows with the number of
 * mappings below the range). vma_each() takes the first where the kernel has
 * it.
 */
#ifndef DAXMR_VMA_H
#define DAXMR_VMA_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct vma {
	uintptr_t start; /* first byte */
	uintptr_t end;	 /* one past the last */
	uint64_t offset; /* of start in the file */
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t ino; /* 0: no file, or System V memory with the id 0 */
	bool readable;
	bool writable;
	bool shared;
	/*
	 * As the kernel prints it: a path, a path with " (deleted)" behind it,
	 * "[heap]", or empty. Never NULL. Valid during the callback only.
	 */
	const char *name;
};

/* More than 0 ends the walk and is its result. */
typedef int vma_fn(const struct vma *vma, void *arg);

/*
 * Calls fn for each mapping that has a byte in [start, end), in order. Returns
 * 0, what fn returned, or -errno when /proc cannot be read (EMFILE, ENFILE,
 * ENOMEM, ENOENT without /proc). Thread-safe; mappings that change meanwhile
 * may be seen as before or after. Keeps one descriptor (close-on-exec, a high
 * number) from its first call on; a program that closes it or puts another
 * file in its place loses nothing, nor does a forked child, which opens its
 * own. Source: Linux 6.11 fs/proc/task_mmu.c, proc(5).
 */
int vma_each(uintptr_t start, uintptr_t end, vma_fn *fn, void *arg);

/* The two readers by themselves. -ENOTTY: the kernel has no PROCMAP_QUERY. */
int vma_each_ioctl(uintptr_t start, uintptr_t end, vma_fn *fn, void *arg);
int vma_each_text(uintptr_t start, uintptr_t end, vma_fn *fn, void *arg);

#endif
