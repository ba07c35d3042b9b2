/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NCCL and others dlopen() libibverbs and ask the handle for its functions: no
 * preload stands between a handle and its library. So we stand in front of
 * dlsym() and dlvsym(), and whoever asks a handle for a verb that we hook, and
 * would get libibverbs' own, gets the hook. The same goes for libpmem,
 * libpmem2, librdmacm and the drivers' libraries.
 *
 * And whoever asks all libraries for a function of one of these, to see whether
 * it is there, does not find the hook as long as it is not loaded. (A verb
 * would say ENOSYS.)
 *
 * UCX's memory hooks ask all libraries for mmap() and the like to write a jump
 * over what they find. They get the C library's, as without us: our hooks call
 * it, and go on to theirs. Where they found ours, no call of the program would
 * come here any more.
 *
 * Everything else must be as if we were not there. RTLD_NEXT and RTLD_DEFAULT
 * mean "as seen from the caller", which the C library finds out by the return
 * address: those calls, and all that are none of our business, are jumped to,
 * not called. The jump is a sibling call that the compiler must make, also in
 * unoptimised builds; the tests of the preload fail where it does not.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

#include "cm_real.h"
#include "dl_hooks.h"
#include "dl_real.h"
#include "dv_real.h"
#include "pmem_real.h"
#include "real.h"

#define EXPORT __attribute__((visibility("default")))

#if defined(__clang__)
#define JUMPS	__attribute__((disable_sanitizer_instrumentation))
#define JUMP_TO __attribute__((musttail)) return
#else
#define JUMPS                                                                  \
	__attribute__((optimize("O2", "optimize-sibling-calls",                \
				"no-stack-protector"),                         \
		       no_sanitize("address", "thread", "undefined")))
#define JUMP_TO return
#endif

EXPORT void *hook_dlsym(void *restrict handle,
			const char *restrict name) __asm__("dlsym");
EXPORT void *hook_dlvsym(void *restrict handle, const char *restrict name,
			 const char *restrict version) __asm__("dlvsym");

static const struct dl_library *library_of(const struct dl_hook *hook)
{
	if (dl_starts_with(hook->version, "LIBPMEM2_"))
		return &pmem2_library;
	if (dl_starts_with(hook->version, "LIBPMEM_"))
		return &pmem_library;
	if (dl_starts_with(hook->version, "RDMACM_"))
		return &cm_library;
	if (dv_library_of(hook->version))
		return dv_library_of(hook->version);
	return &real_library;
}

/* version: NULL for the default, which stands before older ones. */
static const struct dl_hook *hook_of(const char *name, const char *version)
{
	static const struct dl_hook *const lists[] = {dl_hooks, dl_hooks_pmem,
						      dl_hooks_cm, dl_hooks_dv};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const struct dl_hook *at = lists[i]; at->name; at++)
			if (dl_is_same(at->name, name) &&
			    (!version || dl_is_same(at->version, version)))
				return at;
	return NULL;
}

/*
 * Our original for this call. A function of another copy of the library, of
 * another namespace (dlmopen) or of another interposer is not ours to replace.
 */
static void *original_of(const struct dl_hook *hook)
{
	void *library = dl_library_open(library_of(hook)), *original = NULL;

	if (library) {
		original = dl_real_dlvsym(library, hook->name, hook->version);
		dlclose(library);
	}
	return original;
}

/*
 * The hook that stands for what this look-up finds, or NULL. version is the
 * one asked for, NULL for the default.
 */
static __attribute__((noinline)) void *find_hook(void *handle, const char *name,
						 const char *version)
{
	const struct dl_hook *hook = hook_of(name, version);
	void *found, *original;

	if (!hook)
		return NULL;
	original = original_of(hook);
	if (!original)
		return NULL;
	/* last: the state that dlerror() shows is that of the caller's call */
	found = version ? dl_real_dlvsym(handle, name, version)
			: dl_real_dlsym(handle, name);
	return found == original ? hook->hook : NULL;
}

static bool is_search(void *handle)
{
	return handle == RTLD_NEXT || handle == RTLD_DEFAULT;
}

/*
 * Where to search instead: in what has no such function, if the library is not
 * there and the search would find nothing but the hook.
 */
static __attribute__((noinline)) void *find_place(void *handle,
						  const char *name)
{
	const struct dl_hook *hook = hook_of(name, NULL);
	void *library;

	if (!hook || library_of(hook) == &real_library)
		return handle;
	library = dl_library_open(library_of(hook));
	if (!library) {
		library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
		handle = library ? library : handle;
	}
	if (library)
		dlclose(library);
	return handle;
}

/* What both we and UCX hook. */
static bool is_memory_call(const char *name)
{
	return dl_is_same(name, "mmap") || dl_is_same(name, "munmap") ||
	       dl_is_same(name, "mremap") || dl_is_same(name, "madvise");
}

static bool is_memory_hooks(const void *caller)
{
	const char *base, *at;
	Dl_info library;

	if (!dladdr(caller, &library) || !library.dli_fname)
		return false;
	base = library.dli_fname;
	for (at = base; *at; at++)
		if (*at == '/')
			base = at + 1;
	return dl_starts_with(base, "libucm");
}

/* Where the caller is to search for a function that it may overwrite. */
static __attribute__((noinline)) void *
find_what_to_overwrite(void *handle, const void *caller)
{
	void *library;

	if (!is_memory_hooks(caller))
		return handle;
	library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	if (!library)
		return handle;
	dlclose(library);
	return library;
}

/* dlfcn.h says that names are never NULL; callers are not always that kind. */
static inline bool may_be_hooked(const char *name)
{
	return name &&
	       (dl_starts_with(name, "ibv_") || dl_starts_with(name, "pmem") ||
		dl_starts_with(name, "rdma_") || dl_starts_with(name, "mlx") ||
		dl_starts_with(name, "manadv_"));
}

JUMPS void *hook_dlsym(void *restrict handle, const char *restrict name)
{
	dlsym_fn *real = dl_real_dlsym_get();

	if (may_be_hooked(name)) {
		void *hook = NULL;

		if (is_search(handle))
			handle = find_place(handle, name);
		else
			hook = find_hook(handle, name, NULL);
		if (hook)
			return hook;
	}
	if (name && name[0] == 'm' && is_search(handle) && is_memory_call(name))
		handle = find_what_to_overwrite(handle,
						__builtin_return_address(0));
	JUMP_TO real(handle, name);
}

JUMPS void *hook_dlvsym(void *restrict handle, const char *restrict name,
			const char *restrict version)
{
	dlvsym_fn *real = dl_real_dlvsym_get();

	if (may_be_hooked(name)) {
		void *hook = NULL;

		if (is_search(handle))
			handle = find_place(handle, name);
		else
			hook = find_hook(handle, name, version);
		if (hook)
			return hook;
	}
	JUMP_TO real(handle, name, version);
}
