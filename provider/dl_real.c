/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library that exports dlsym() and dlvsym() cannot call the C library's: each
 * reference it makes is bound to its own. So the two are looked up by hand in
 * the symbol table of the C library, which is in every process and mapped
 * whole. Only what the ELF specification and the GNU hash table promise is
 * used. Needs no memory and no lock of ours: the loader, another preload or a
 * sanitizer may call dlsym() before anything of ours has run.
 */
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "dl_real.h"

struct tables {
	const ElfW(Sym) * symbols;
	const char *strings;
	const ElfW(Half) * versions; /* NULL: none */
	const uint32_t *gnu_hash;
};

struct search {
	const char *name;
	void *found;
};

static uint32_t gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	for (; *name; name++)
		hash = hash * 33 + (unsigned char)*name;
	return hash;
}

/* The defined symbol of that name in its default version, or NULL. */
static const ElfW(Sym) *
	find_symbol(const struct tables *tables, const char *name)
{
	const uint32_t *table = tables->gnu_hash;
	uint32_t n_buckets = table[0], first = table[1], bloom_words = table[2];
	const uint32_t *buckets =
		(const uint32_t *)((const ElfW(Addr) *)(table + 4) +
				   bloom_words);
	const uint32_t *chain = buckets + n_buckets;
	uint32_t hash = gnu_hash(name), i;

	if (!n_buckets)
		return NULL;
	i = buckets[hash % n_buckets];
	if (i < first)
		return NULL;
	for (;; i++) {
		const ElfW(Sym) *symbol = &tables->symbols[i];

		if ((chain[i - first] | 1) == (hash | 1) &&
		    strcmp(tables->strings + symbol->st_name, name) == 0 &&
		    symbol->st_shndx != SHN_UNDEF &&
		    (!tables->versions || !(tables->versions[i] & 0x8000)))
			return symbol;
		if (chain[i - first] & 1)
			return NULL;
	}
}

static bool is_c_library(const struct dl_phdr_info *info)
{
	const char *base = strrchr(info->dlpi_name, '/');

	base = base ? base + 1 : info->dlpi_name;
	return strncmp(base, "libc.so", 7) == 0 ||
	       strncmp(base, "libdl.so", 8) == 0;
}

static int look_in(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;
	struct tables tables = {0};
	const ElfW(Dyn) *dynamic = NULL;
	const ElfW(Sym) * symbol;
	int i;

	(void)size;
	if (!is_c_library(info))
		return 0;
	for (i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dynamic = (const void *)(info->dlpi_addr +
						 info->dlpi_phdr[i].p_vaddr);
	/* glibc has relocated these to addresses already */
	for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
		const void *at = (const void *)dynamic->d_un.d_ptr;

		if (dynamic->d_tag == DT_SYMTAB)
			tables.symbols = at;
		else if (dynamic->d_tag == DT_STRTAB)
			tables.strings = at;
		else if (dynamic->d_tag == DT_VERSYM)
			tables.versions = at;
		else if (dynamic->d_tag == DT_GNU_HASH)
			tables.gnu_hash = at;
	}
	if (!tables.symbols || !tables.strings || !tables.gnu_hash)
		return 0;
	symbol = find_symbol(&tables, search->name);
	if (!symbol)
		return 0;
	search->found = (void *)(info->dlpi_addr + symbol->st_value);
	return 1;
}

static void *look_for(const char *name)
{
	struct search search = {.name = name};

	dl_iterate_phdr(look_in, &search);
	return search.found;
}

/* Two threads may both look: they find the same. */
dlsym_fn *dl_real_dlsym_get(void)
{
	static void *known;
	void *found = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (!found) {
		found = look_for("dlsym");
		__atomic_store_n(&known, found, __ATOMIC_RELAXED);
	}
	return (dlsym_fn *)found;
}

dlvsym_fn *dl_real_dlvsym_get(void)
{
	static void *known;
	void *found = __atomic_load_n(&known, __ATOMIC_RELAXED);

	if (!found) {
		found = look_for("dlvsym");
		__atomic_store_n(&known, found, __ATOMIC_RELAXED);
	}
	return (dlvsym_fn *)found;
}
