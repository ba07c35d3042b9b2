/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mappings of this process, as far as they are of a file that is to be
 * leased: what lies at an address, and all that there is of one file.
 *
 * One address is one ioctl from Linux 6.11 on (PROCMAP_QUERY), the lines of
 * maps up to it before. All of a file are in smaps alone, with the flags that
 * each mapping has; it walks the page tables of everything that is mapped, so
 * it is read only where mappings have to be made anew, and to the end only
 * where one is not enough.
 */
#ifndef DAXMR_LEASE_MAPPING_H
#define DAXMR_LEASE_MAPPING_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A path with " (deleted)" behind it. */
#define MAPPING_NAME_MAX (PATH_MAX + 16)

struct mapping {
	uintptr_t start;
	uintptr_t end;
	uint64_t offset; /* of start in the file */
	dev_t dev;
	ino_t ino; /* 0: no file */
	int protection;
	bool is_shared;
};

/*
 * The mapping that addr lies in; its name (may be NULL) of MAPPING_NAME_MAX
 * bytes as the kernel shows it. 0, -EFAULT nothing is mapped there, or what
 * reading /proc says.
 */
int mapping_at(uintptr_t addr, struct mapping *ret, char *name);

/*
 * Of the process whose maps fd is: the first mapping of a file that ends above
 * addr. 0, -ENOENT there is none, -ENOTTY before Linux 6.11, -ESRCH it ended.
 */
int mapping_next(int fd, uintptr_t addr, struct mapping *ret);

/*
 * Could mprotect() make the shared mapping at addr writable, as its open file
 * description is open for writing? True also where that cannot be found out (it
 * is sealed, or there is no room for a page more).
 */
bool mapping_may_write(uintptr_t addr);

/* /proc/self/map_files/...: opens its file for who has the capability. */
#define MAPPING_LINK_MAX 80
void mapping_link(const struct mapping *mapping, char *text);

/* What smaps says beside that. */
struct mapping_state {
	struct mapping mapping;
	char flags[120]; /* VmFlags: "rd wr sh mr mw", two letters each */
	int key;	 /* protection key */
};

/* Is this two-letter flag there? */
bool mapping_has(const struct mapping_state *state, const char *flag);

/* All mappings of a file. 0 and *ret for heap_put(), or -errno. */
int mapping_all(dev_t dev, ino_t ino, struct mapping_state **ret,
		size_t *ret_count);

/* Of either: the error, with a sentence. */
int mapping_refuse(int error);

/*
 * The shared mapping that addr lies in, at the same cost among ten and ten
 * thousand. What a userfaultfd has registered shows no flag of it here. 0,
 * -ENOENT it cannot be had that way, or as mapping_at().
 */
int mapping_state_at(uintptr_t addr, struct mapping_state *ret);

#endif
