/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NCCL and others dlopen() libibverbs and ask the handle for its functions: no
 * preload stands between a handle and its library. So we stand in front of
 * dlsym() and dlvsym(), and whoever asks a handle for a verb that we hook, and
 * would get libibverbs' own, gets the hook.
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

#include "dl_hooks.h"
#include "dl_real.h"
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

/*
 * Our original for this call. A function of another copy of libibverbs, of
 * another namespace (dlmopen) or of another interposer is not ours to replace.
 */
static void *original_of(const struct dl_hook *hook)
{
	void *library = real_open_library(), *original = NULL;

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
	const struct dl_hook *hook;
	void *found, *original;

	for (hook = dl_hooks; hook->name; hook++)
		if (dl_is_same(hook->name, name))
			break;
	if (!hook->name || (version && !dl_is_same(version, hook->version)))
		return NULL;
	original = original_of(hook);
	if (!original)
		return NULL;
	/* last: the state that dlerror() shows is that of the caller's call */
	found = version ? dl_real_dlvsym(handle, name, version)
			: dl_real_dlsym(handle, name);
	return found == original ? hook->hook : NULL;
}

/* dlfcn.h says that names are never NULL; callers are not always that kind. */
static inline bool may_be_hooked(void *handle, const char *name)
{
	return handle != RTLD_NEXT && handle != RTLD_DEFAULT && name &&
	       dl_starts_with(name, "ibv_");
}

JUMPS void *hook_dlsym(void *restrict handle, const char *restrict name)
{
	dlsym_fn *real = dl_real_dlsym_get();

	if (may_be_hooked(handle, name)) {
		void *hook = find_hook(handle, name, NULL);

		if (hook)
			return hook;
	}
	JUMP_TO real(handle, name);
}

JUMPS void *hook_dlvsym(void *restrict handle, const char *restrict name,
			const char *restrict version)
{
	dlvsym_fn *real = dl_real_dlvsym_get();

	if (may_be_hooked(handle, name)) {
		void *hook = find_hook(handle, name, version);

		if (hook)
			return hook;
	}
	JUMP_TO real(handle, name, version);
}
