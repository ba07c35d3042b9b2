/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PROCMAP_QUERY, Linux 6.11 <linux/fs.h>: the build machine's headers may be
 * older.
 */
#ifndef DAXMR_LEASE_PROCMAP_H
#define DAXMR_LEASE_PROCMAP_H

#include <stdint.h>
#include <sys/ioctl.h>

struct procmap_query_args {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end;
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};

#define PROCMAP_QUERY_NR	 _IOWR('f', 17, struct procmap_query_args)
#define PROCMAP_VMA_READABLE	 0x01
#define PROCMAP_VMA_WRITABLE	 0x02
#define PROCMAP_VMA_EXEC	 0x04
#define PROCMAP_VMA_SHARED	 0x08
#define PROCMAP_COVERING_OR_NEXT 0x10
#define PROCMAP_FILE_BACKED	 0x20

#endif
