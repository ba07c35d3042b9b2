/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What kind of memory lies at an address range.
 */
#ifndef DAXMR_MEMORY_H
#define DAXMR_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vma.h"

enum memory_kind {
	MEMORY_UNMAPPED,
	MEMORY_ANONYMOUS, /* private or shared without a file, heap, stack */
	MEMORY_MEMFD,
	MEMORY_TMPFS, /* also System V shared memory */
	MEMORY_HUGETLB,
	MEMORY_DEVDAX,		  /* /dev/daxX.Y */
	MEMORY_DEVICE,		  /* another character device */
	MEMORY_FSDAX,		  /* a file whose pages are its blocks */
	MEMORY_FSDAX_PRIVATE,	  /* the same, MAP_PRIVATE */
	MEMORY_PAGECACHE,	  /* any other file */
	MEMORY_PAGECACHE_PRIVATE, /* the same, MAP_PRIVATE */
	MEMORY_SHADOW,		  /* the memfd in the place of a staged file */
	MEMORY_UNKNOWN,		  /* a file that could not be looked at */
	MEMORY_KINDS
};

#define MEMORY_BIT(kind) (1u << (kind))

/* Files whose mapping the kernel may refuse to pin. */
#define MEMORY_FSDAX_BITS                                                      \
	(MEMORY_BIT(MEMORY_FSDAX) | MEMORY_BIT(MEMORY_FSDAX_PRIVATE))
#define MEMORY_PAGECACHE_BITS                                                  \
	(MEMORY_BIT(MEMORY_PAGECACHE) | MEMORY_BIT(MEMORY_PAGECACHE_PRIVATE))

/* A file behind a mapping, seen without opening its data. */
struct memory_file {
	enum memory_kind kind;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t ino;
	uint64_t size;	/* bytes; 0 where it could not be looked at */
	char fs[16];	/* "xfs", "ext4", "tmpfs", …, or 0x and the magic */
	char name[256]; /* as the kernel prints it, cut in the middle */
};

struct memory {
	uintptr_t start; /* page borders around the range */
	uintptr_t end;
	unsigned int kinds;    /* MEMORY_BIT of all that lies there */
	unsigned int mappings; /* how many */
	bool read_only;	       /* a part of it is without PROT_WRITE */
	bool unreadable;       /* a part of it is without PROT_READ */
	int unseen;	       /* the errno that kept us from looking, or 0 */
	bool beyond_eof;       /* the range goes past the end of `file` */
	/*
	 * The first file of the kind that registration fails for (fs-dax
	 * before page cache before the rest), else of tmpfs or hugetlbfs;
	 * kind MEMORY_UNMAPPED: no such.
	 */
	struct memory_file file;
};

/*
 * Looks at [addr, addr + length). Returns 0, or -errno when /proc cannot be
 * read (*ret untouched). A length of 0 or a range that wraps shows the same as
 * nothing mapped. Ordinary memory costs at most two system calls from Linux
 * 6.11 on, files a few more each; no file is opened for reading or writing, so
 * no lease breaks.
 */
int memory_look(const void *addr, size_t length, struct memory *ret);

/* The same with one of the readers of vma.h. */
typedef int memory_reader(uintptr_t start, uintptr_t end, vma_fn *fn,
			  void *arg);
int memory_look_with(memory_reader *reader, const void *addr, size_t length,
		     struct memory *ret);

/* "anonymous memory", "fs-dax file": for sentences. */
const char *memory_kind_name(enum memory_kind kind);

/* All the kinds in one text, "anonymous memory and fs-dax file". */
char *memory_kinds_names(unsigned int kinds, char *text, size_t size);

/* backing.c: what the file of a mapping is. Fills *ret, kind included. */
void backing_look(const struct vma *vma, struct memory_file *ret);

#endif
