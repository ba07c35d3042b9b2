/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library that exports dlsym() and dlvsym() cannot call the C library's: each
 * reference it makes is bound to its own. So the two are looked up by hand in
 * the symbol table of the C library, which is in every process and mapped
 * whole. Only what the ELF specification and the GNU hash table promise is
 * used.
 *
 * No function of any library is called here, and neither is this file
 * instrumented: a sanitizer's runtime, or another preload, asks dlsym() for the
 * functions it stands in front of before anything else can run.
 */
#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "dl_real.h"

struct tables {
	const ElfW(Sym) * symbols;
	const char *strings;
	const ElfW(Half) * versions; /* NULL: none */
	const uint32_t *gnu_hash;
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
		    dl_is_same(tables->strings + symbol->st_name, name) &&
		    symbol->st_shndx != SHN_UNDEF &&
		    (!tables->versions || !(tables->versions[i] & 0x8000)))
			return symbol;
		if (chain[i - first] & 1)
			return NULL;
	}
}

static bool is_c_library(const char *path)
{
	const char *base = path;

	for (; *path; path++)
		if (*path == '/')
			base = path + 1;
	return dl_starts_with(base, "libc.so") ||
	       dl_starts_with(base, "libdl.so");
}

/* The address of the function in this library, or NULL. */
static void *look_in(const struct link_map *library, const char *name)
{
	const ElfW(Dyn) *dynamic = library->l_ld;
	struct tables tables = {0};
	const ElfW(Sym) * symbol;

	/* glibc has relocated these to addresses already */
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
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
		return NULL;
	symbol = find_symbol(&tables, name);
	return symbol ? (void *)(library->l_addr + symbol->st_value) : NULL;
}

/*
 * The list of libraries is the loader's and changes under dlopen(). It is
 * walked once, from the constructor or earlier: before there are threads.
 */
static void *look_for(const char *name)
{
	const struct link_map *library;
	void *found;

	for (library = _r_debug.r_map; library; library = library->l_next) {
		if (!is_c_library(library->l_name))
			continue;
		found = look_in(library, name);
		if (found)
			return found;
	}
	return NULL;
}

void *dl_real_next(const char *name)
{
	const struct link_map *library;
	bool is_behind = false;
	void *found = NULL;

	for (library = _r_debug.r_map; library && !found;
	     library = library->l_next) {
		if (is_behind && library->l_ld)
			found = look_in(library, name);
		is_behind = is_behind || library->l_ld == _DYNAMIC;
	}
	return found;
}

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

__attribute__((constructor)) static void look_early(void)
{
	dl_real_dlsym_get();
	dl_real_dlvsym_get();
}
