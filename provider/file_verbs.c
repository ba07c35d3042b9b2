/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of verbs' libraries: file_verbs.h.
 *
 * The table only grows. A slot is taken by a count and filled by one thread;
 * whoever reads sees it once the end of its code is there. Threads that look at
 * the same time may fill two slots alike, which does no harm; a fork or a
 * siglongjmp() in the midst of it leaves one empty, which does none either.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dl_real.h"
#include "file_verbs.h"
#include "raw.h"

#define LIBRARIES_MAX 32

struct segment {
	_Atomic uintptr_t start;
	_Atomic uintptr_t end; /* 0: not filled */
};

struct library {
	struct segment data; /* the one that is written to: pointers */
	struct segment code;
};

_Atomic uintptr_t file_verbs_places[FILE_VERBS_PLACES];

static struct library libraries[LIBRARIES_MAX];
static _Atomic unsigned int taken;
/* What the loader has ever added, when it was last looked at; 0: never. */
static _Atomic unsigned long long seen;

static bool has(const struct segment *segment, uintptr_t at, size_t length)
{
	uintptr_t end =
		atomic_load_explicit(&segment->end, memory_order_acquire);

	return at >= atomic_load_explicit(&segment->start,
					  memory_order_relaxed) &&
	       at < end && end - at >= length;
}

static const struct library *library_at(uintptr_t at)
{
	unsigned int count = atomic_load_explicit(&taken, memory_order_relaxed);

	if (count > LIBRARIES_MAX)
		count = LIBRARIES_MAX;
	for (unsigned int i = 0; i < count; i++)
		if (has(&libraries[i].code, at, 1))
			return &libraries[i];
	return NULL;
}

#ifdef __x86_64__
static uintptr_t pointed(uintptr_t end)
{
	int32_t distance;

	memcpy(&distance, (const void *)(end - sizeof(distance)),
	       sizeof(distance));
	return end + (uintptr_t)(intptr_t)distance;
}

/* An entry of the PLT: (endbr64) (bnd) jmp *slot(%rip). */
static uintptr_t slot_of_stub(const struct library *library, uintptr_t at)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	const uint8_t *code = (const uint8_t *)at;

	if (!has(&library->code, at, sizeof(endbr64) + 7))
		return 0;
	if (!memcmp(code, endbr64, sizeof(endbr64)))
		code += sizeof(endbr64);
	if (*code == 0xf2)
		code++;
	return code[0] == 0xff && code[1] == 0x25 ? pointed((uintptr_t)code + 6)
						  : 0;
}

/*
 * By the PLT or (-fno-plt) by the slot itself; the slot has the hook. Calls by
 * other pointers have other bytes there: taken for the distance of a call they
 * would lead out of the library.
 */
static bool is_call(const struct library *library, uintptr_t back,
		    const void *hook)
{
	const uint8_t *code = (const uint8_t *)back;
	uintptr_t slot = 0;

	if (!has(&library->code, back - 6, 6))
		return false;
	if (code[-5] == 0xe8)
		slot = slot_of_stub(library, pointed(back));
	else if (code[-6] == 0xff && code[-5] == 0x15)
		slot = pointed(back);
	return slot % sizeof(hook) == 0 &&
	       has(&library->data, slot, sizeof(hook)) &&
	       __atomic_load_n((void *const *)slot, __ATOMIC_RELAXED) == hook;
}
#else
static bool is_call(const struct library *library, uintptr_t back,
		    const void *hook)
{
	(void)library;
	(void)back;
	(void)hook;
	return false;
}
#endif

bool file_verbs_look_at(const void *hook, uintptr_t back)
{
	const struct library *library = library_at(back);

	if (!library || !is_call(library, back, hook))
		return false;
	atomic_store_explicit(file_verbs_place(back), back,
			      memory_order_relaxed);
	return true;
}

/* "libmlx5.so.1", and "libmlx5-3c1d.so" as packages rename their copies. */
static bool is_named(const char *base, const char *name)
{
	size_t length = strlen(name);

	return dl_starts_with(base, name) &&
	       (base[length] == '.' || base[length] == '-');
}

/*
 * Those that read or write by descriptor: libibverbs, the drivers ("-rdmav" and
 * the number of their interface are libibverbs' own rule for their names), and
 * that driver which is a library as well. librdmacm does not on the data path,
 * and librspreload reads for the program.
 */
static bool is_verbs(const char *path)
{
	const char *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	return is_named(base, "libibverbs") || is_named(base, "libmlx5") ||
	       strstr(base, "-rdmav");
}

static const ElfW(Phdr) *
	segment_of(const struct dl_phdr_info *info, uint32_t flags)
{
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];

		if (header->p_type == PT_LOAD && header->p_flags == flags)
			return header;
	}
	return NULL;
}

static bool is_known(const struct dl_phdr_info *info)
{
	const ElfW(Phdr) *code = segment_of(info, PF_R | PF_X);

	return code && library_at(info->dlpi_addr + code->p_vaddr);
}

struct found {
	uintptr_t base;
	char path[PATH_MAX];
};

#define FOUND_SIZE (LIBRARIES_MAX * sizeof(struct found))

struct search {
	unsigned long long added;
	unsigned int count;
	struct found *found; /* NULL: none yet */
};

/*
 * Not held here: the loader's other lock comes before the one of this walk. Nor
 * is malloc() called, which a thread may be in that waits for this one.
 */
static int collect(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;

	(void)size;
	search->added = info->dlpi_adds;
	if (search->added == atomic_load(&seen))
		return 1;
	if (!is_verbs(info->dlpi_name) || is_known(info))
		return 0;
	if (!search->found)
		search->found = raw_map_memory(FOUND_SIZE, 0);
	if (search->found == MAP_FAILED) {
		search->found = NULL;
		return 1;
	}
	snprintf(search->found[search->count].path, PATH_MAX, "%s",
		 info->dlpi_name);
	return ++search->count == LIBRARIES_MAX;
}

/* Its handle stays open. 0: it has gone meanwhile. */
static uintptr_t hold(const char *path)
{
	void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
	struct link_map *map;

	if (!handle)
		return 0;
	if (!dlinfo(handle, RTLD_DI_LINKMAP, &map))
		return map->l_addr;
	dlclose(handle);
	return 0;
}

static void set(struct segment *segment, uintptr_t start, uintptr_t end)
{
	atomic_store_explicit(&segment->start, start, memory_order_relaxed);
	atomic_store_explicit(&segment->end, end, memory_order_release);
}

static void add(const struct dl_phdr_info *info)
{
	const ElfW(Phdr) *code = segment_of(info, PF_R | PF_X);
	const ElfW(Phdr) *data = segment_of(info, PF_R | PF_W);
	uintptr_t start;
	unsigned int i;

	if (!code || !data || is_known(info))
		return;
	i = atomic_fetch_add(&taken, 1);
	if (i >= LIBRARIES_MAX)
		return;
	start = info->dlpi_addr + data->p_vaddr;
	set(&libraries[i].data, start, start + data->p_memsz);
	start = info->dlpi_addr + code->p_vaddr;
	set(&libraries[i].code, start, start + code->p_memsz);
}

static int add_held(struct dl_phdr_info *info, size_t size, void *arg)
{
	const struct search *search = arg;

	(void)size;
	for (unsigned int i = 0; i < search->count; i++)
		if (search->found[i].base &&
		    search->found[i].base == info->dlpi_addr)
			add(info);
	return 0;
}

void file_verbs_find(void)
{
	struct search search = {.count = 0};
	int saved_errno = errno;

	dl_iterate_phdr(collect, &search);
	for (unsigned int i = 0; i < search.count; i++)
		search.found[i].base = hold(search.found[i].path);
	if (search.count)
		dl_iterate_phdr(add_held, &search);
	if (search.found)
		raw_unmap(search.found, FOUND_SIZE);
	atomic_store(&seen, search.added);
	errno = saved_errno;
}
