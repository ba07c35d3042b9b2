/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that is not linked against libibverbs and loads it when it pleases,
 * without RTLD_GLOBAL: what NCCL and every Python extension do. Argument: the
 * stand-in library.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "refused_file.h"
#include "standin.h"

#undef ibv_reg_mr
#define SIZE 8192UL

typedef struct ibv_mr *reg_fn(struct ibv_pd *pd, void *addr, size_t length,
			      int access);
typedef int dereg_fn(struct ibv_mr *mr);

static const char *library;
static const char *extension;
static void *handle;
static struct standin_control *device;
static struct ibv_pd *pd;
static char *file;

static void *own(const char *name)
{
	void *found = dlsym(handle, name);

	assert_non_null(found);
	return found;
}

static int reset(void **state)
{
	(void)state;
	if (device) {
		memset(device, 0, sizeof(*device));
		device->refuse_plain = EFAULT;
		device->has_odp = 1;
	}
	return 0;
}

static bool library_is_loaded(void)
{
	void *loaded = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);

	if (loaded)
		dlclose(loaded);
	return loaded != NULL;
}

static void before__library_is_not_there_because_of_us(void **state)
{
	reg_fn *reg = dlsym(RTLD_DEFAULT, "ibv_reg_mr");

	(void)state;
	assert_false(library_is_loaded());
	/* the hook is there, and says so cleanly when it is called too early */
	assert_non_null(reg);
	errno = 0;
	assert_null(reg(NULL, NULL, 0, 0));
	assert_int_equal(errno, ENOSYS);
	assert_false(library_is_loaded());
}

static void load(void **state)
{
	struct standin_control *(*control)(void);
	struct ibv_pd *(*get_pd)(void);

	(void)state;
	handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		fail_msg("%s", dlerror());
	*(void **)&control = own("standin_control");
	*(void **)&get_pd = own("standin_pd");
	device = control();
	pd = get_pd();
	reset(NULL);
}

/* Registers through reg and looks whether daxmr was on the way. */
static void check_hooked(reg_fn *reg)
{
	dereg_fn *dereg = (dereg_fn *)own("ibv_dereg_mr");
	struct ibv_mr *mr;

	assert_non_null(reg);
	mr = reg(pd, file, SIZE, IBV_ACCESS_LOCAL_WRITE);
	assert_non_null(mr);
	assert_int_equal(device->seen.access,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND);
	assert_int_equal(dereg(mr), 0);
}

static void dlsym__by_handle_is_hooked(void **state)
{
	(void)state;
	check_hooked(dlsym(handle, "ibv_reg_mr"));
	assert_null(dlerror());
}

static void dlvsym__by_handle_is_hooked(void **state)
{
	(void)state;
	check_hooked(dlvsym(handle, "ibv_reg_mr", "IBVERBS_1.1"));
	assert_null(dlerror());
}

static void dlvsym__default_scope_is_hooked(void **state)
{
	(void)state;
	check_hooked(dlvsym(RTLD_DEFAULT, "ibv_reg_mr", "IBVERBS_1.1"));
}

/* Another namespace has functions of its own: they are not ours to replace. */
static void dlmopen__other_namespace_is_left_alone(void **state)
{
	void *other = NULL;
	Dl_info info;

	(void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	other = dlmopen(LM_ID_NEWLM, library, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(other);
#else
	print_message("a sanitizer's runtime works in one namespace only\n");
	skip();
#endif
	assert_true(dladdr(dlsym(other, "ibv_reg_mr"), &info) != 0);
	assert_non_null(strstr(info.dli_fname, "libibverbs.so"));
	assert_true(dladdr(dlvsym(other, "ibv_reg_mr", "IBVERBS_1.1"), &info) !=
		    0);
	assert_non_null(strstr(info.dli_fname, "libibverbs.so"));
	dlclose(other);
}

/* The old ABI has other structures behind its pointers: not our call. */
static void dlvsym__old_abi_is_passed_on(void **state)
{
	reg_fn *reg = dlvsym(handle, "ibv_reg_mr", "IBVERBS_1.0");

	(void)state;
	assert_non_null(reg);
	assert_null(reg((void *)1, (void *)1, 1, 1));
	assert_int_equal(errno, EXDEV);
	assert_int_equal(device->seen.calls[STANDIN_REG_MR_1_0], 1);
}

static void dlsym__what_is_not_there_fails_as_ever(void **state)
{
	char *error;

	(void)state;
	dlerror();
	assert_null(dlsym(handle, "ibv_no_such_verb"));
	error = dlerror();
	assert_non_null(error);
	assert_non_null(strstr(error, "ibv_no_such_verb"));
	assert_null(dlvsym(handle, "ibv_reg_mr", "IBVERBS_9.9"));
	assert_non_null(dlerror());
	assert_null(dlerror());
}

static void dlsym__other_functions_are_the_librarys_own(void **state)
{
	void *open_device = own("ibv_open_device");
	Dl_info info;

	(void)state;
	assert_true(dladdr(open_device, &info) != 0);
	assert_non_null(strstr(info.dli_fname, "libibverbs.so"));
	assert_ptr_equal(dlsym(RTLD_DEFAULT, "malloc"), (void *)malloc);
}

/* RTLD_NEXT and RTLD_DEFAULT go by who calls: this object, not the preload. */
static void dlsym__next_and_default_are_seen_from_the_caller(void **state)
{
	void *(*look)(const char *), *next;
	void *plugin = dlopen(extension, RTLD_NOW | RTLD_LOCAL);

	(void)state;
	/* behind this program comes the preload's own: not NULL, not libc's */
	next = dlsym(RTLD_NEXT, "dlsym");
	assert_non_null(next);
	assert_ptr_equal(next, (void *)dlsym);
	/* an extension finds by RTLD_DEFAULT what only its own scope has */
	if (!plugin)
		fail_msg("%s", dlerror());
	*(void **)&look = dlsym(plugin, "extension_look");
	assert_non_null(look);
	assert_non_null(look("standin_pd"));
	assert_null(dlsym(RTLD_DEFAULT, "standin_pd"));
	dlclose(plugin);
}

/* A call that an extension makes through its own PLT meets the hook. */
static void extension__linked_against_the_library_is_hooked(void **state)
{
	void *plugin = dlopen(extension, RTLD_NOW | RTLD_LOCAL);
	reg_fn *reg;

	(void)state;
	if (!plugin)
		fail_msg("%s", dlerror());
	*(void **)&reg = dlsym(plugin, "extension_register");
	check_hooked(reg);
	dlclose(plugin);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, reset)
		TEST(before__library_is_not_there_because_of_us),
		TEST(load),
		TEST(dlsym__by_handle_is_hooked),
		TEST(dlvsym__by_handle_is_hooked),
		TEST(dlvsym__default_scope_is_hooked),
		TEST(dlmopen__other_namespace_is_left_alone),
		TEST(dlvsym__old_abi_is_passed_on),
		TEST(dlsym__what_is_not_there_fails_as_ever),
		TEST(dlsym__other_functions_are_the_librarys_own),
		TEST(dlsym__next_and_default_are_seen_from_the_caller),
		TEST(extension__linked_against_the_library_is_hooked),
	};
	char path[64];
	int r;

	if (argc != 3)
		return 1;
	library = argv[1];
	extension = argv[2];
	file = refused_file_map(SIZE, path);
	if (!file)
		return 77;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return r;
}
