/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scratch memory of the trust test: trust_mem.h says what it is for.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trust_mem.h"

#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

/*
 * Raw system calls: no other interposer's memory hooks are called inside a
 * registration. ThreadSanitizer has to see memory come and go, though, or takes
 * a new mapping at an old address for a race. On 32-bit machines SYS_mmap,
 * where it exists, takes a struct.
 */
static void *raw_mmap(void *at, size_t length, int flags)
{
#if defined(__SANITIZE_THREAD__)
	return mmap(at, length, PROT_READ | PROT_WRITE, flags, -1, 0);
#elif defined(SYS_mmap2)
	long p = syscall(SYS_mmap2, at, length, PROT_READ | PROT_WRITE, flags,
			 -1, 0L);

	return p == -1 ? MAP_FAILED : (void *)p;
#else
	long p = syscall(SYS_mmap, at, length, PROT_READ | PROT_WRITE, flags,
			 -1, 0L);

	return p == -1 ? MAP_FAILED : (void *)p;
#endif
}

/*
 * A child forked by another thread meanwhile has no use for it. Its copy would
 * only make the pages copy-on-write under the device.
 */
static int keep_from_children(const struct scratch *scratch)
{
	return syscall(SYS_madvise, scratch->base, scratch->length,
		       MADV_DONTFORK)
		       ? -errno
		       : 0;
}

void *memory_map(size_t length)
{
	void *p = raw_mmap(NULL, length, PRIVATE);

	return p == MAP_FAILED ? NULL : p;
}

void memory_unmap(void *memory, size_t length)
{
	if (!memory)
		return;
#if defined(__SANITIZE_THREAD__)
	munmap(memory, length);
#else
	syscall(SYS_munmap, memory, length);
#endif
}

int scratch_map(struct scratch *scratch, size_t length)
{
	int err = 0;

	*scratch = (struct scratch){
		.base = memory_map(length),
		.image = memory_map(length),
		.length = length,
	};
	if (!scratch->base || !scratch->image)
		err = -ENOMEM; /* mmap has no other reason here */
	if (!err)
		err = keep_from_children(scratch);
	if (err)
		scratch_unmap(scratch);
	return err;
}

void scratch_unmap(struct scratch *scratch)
{
	memory_unmap(scratch->base, scratch->length);
	memory_unmap(scratch->image, scratch->length);
	*scratch = (struct scratch){0};
}

int scratch_drop(struct scratch *scratch)
{
	if (syscall(SYS_madvise, scratch->base, scratch->length, MADV_DONTNEED))
		return -errno;
	return 0;
}

int scratch_remap(struct scratch *scratch)
{
	if (raw_mmap(scratch->base, scratch->length, PRIVATE | MAP_FIXED) ==
	    MAP_FAILED)
		return -errno;
	return keep_from_children(scratch);
}

int scratch_protect(struct scratch *scratch, bool readonly)
{
	if (syscall(SYS_mprotect, scratch->base, scratch->length,
		    readonly ? PROT_READ : PROT_READ | PROT_WRITE))
		return -errno;
	return 0;
}

/* A mixer (32 bits, Prospector's triple32 cut short): no period in a page. */
static uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	x ^= x >> 16;
	return x;
}

void scratch_fill(struct scratch *scratch, enum scratch_letters letters,
		  uint32_t seed)
{
	seed = mix(seed + 1);
	for (size_t i = 0; i < scratch->length; i += 4) {
		uint32_t x = mix((uint32_t)i ^ seed);

		for (size_t k = i; k < i + 4; k++, x >>= 8)
			scratch->image[k] =
				letters == SCRATCH_PAYLOAD
					? (uint8_t)(1 + (x & 0xff) % 127)
					: (uint8_t)(128 + (x & 0x7f));
	}
	memcpy(scratch->base, scratch->image, scratch->length);
}

void scratch_expect_untouched(struct scratch *scratch)
{
	memset(scratch->image, 0, scratch->length);
}

size_t scratch_differs(const struct scratch *scratch, size_t offset,
		       size_t length, size_t *ret_first)
{
	const uint8_t *base = scratch->base + offset;
	const uint8_t *image = scratch->image + offset;
	size_t wrong = 0;

	/* The device has written it, which the compiler cannot know. */
	__asm__ volatile("" ::: "memory");
	if (!memcmp(base, image, length))
		return 0;
	for (size_t i = 0; i < length; i++) {
		if (base[i] == image[i])
			continue;
		if (!wrong++)
			*ret_first = offset + i;
	}
	return wrong;
}
