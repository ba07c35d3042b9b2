/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What would end program and keeper together, found in a made-up /proc and
 * cgroup v2. The rig has the real ones.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fate.h"
#include "unit.h"

#define PROGRAM 70
#define KEEPER	77

static char root[] = "fate-test-XXXXXX";
static char text[FATE_MAX];

/* With the folders on the way. */
static FILE *make(const char *name)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	file = fopen(path, "we");
	assert_non_null(file);
	return file;
}

static void put(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void put(const char *name, const char *format, ...)
{
	FILE *file = make(name);
	va_list args;

	va_start(args, format);
	vfprintf(file, format, args);
	va_end(args);
	fclose(file);
}

static int setup(void **state)
{
	char folder[256];

	(void)state;
	strcpy(root + strlen(root) - 6, "XXXXXX");
	assert_non_null(mkdtemp(root));
	assert_non_null(getcwd(folder, sizeof(folder)));
	put("proc/self/mountinfo",
	    "22 1 0:20 / /proc rw,relatime shared:12 - proc proc rw\n"
	    "30 1 0:26 / %s/%s/v1 rw shared:4 - cgroup cgroup rw,memory\n"
	    "31 1 0:27 / %s/%s/a\\040tree rw shared:9 - cgroup2 cgroup2 rw\n",
	    folder, root, folder, root);
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static void place(const char *program, const char *keeper)
{
	put("proc/self/cgroup", "1:name=systemd:/x\n0::%s\n", program);
	put("proc/77/cgroup", "0::%s\n", keeper);
}

static int find(pid_t program, pid_t keeper)
{
	char proc[64];

	snprintf(proc, sizeof(proc), "%s/proc", root);
	strcpy(text, "as before");
	return fate_find_in(proc, program, keeper, text, sizeof(text));
}

static void pid_1__takes_its_keeper_along(void **state)
{
	(void)state;
	assert_int_equal(find(1, KEEPER), FATE_PID_NAMESPACE);
	assert_non_null(strstr(text, "PID namespace"));
	assert_non_null(strstr(text, "DAXMR_KEEPER"));
	assert_null(strchr(text, '\n'));
	/* one of another namespace is not seen */
	assert_int_equal(find(1, 0), 0);
	assert_string_equal(text, "");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	assert_string_equal(text, "");
}

static void oom_group__at_or_above_both(void **state)
{
	(void)state;
	put("a tree/box/memory.oom.group", "0\n");
	put("a tree/box/one/memory.oom.group", "1\n");
	put("a tree/box/two/memory.oom.group", "0\n");
	place("/box/one", "/box/one");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_OOM_GROUP);
	assert_non_null(strstr(text, "a tree/box/one/memory.oom.group"));
	assert_non_null(strstr(text, "DAXMR_KEEPER"));
	/* only the program's own, or a name that begins alike */
	place("/box/one", "/box/two");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	place("/box/one", "/box/onetwo");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	place("/box/one", "/");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	/* one lies below the other */
	place("/box/one", "/box/one/deep");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_OOM_GROUP);
	/* above both */
	put("a tree/box/memory.oom.group", "1\n");
	place("/box/one", "/box/two");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_OOM_GROUP);
	assert_non_null(strstr(text, "a tree/box/memory.oom.group"));
}

/* A cgroup namespace's or a bind mount's root is what the mount shows. */
static void oom_group__mount_of_a_part(void **state)
{
	char folder[256];

	(void)state;
	assert_non_null(getcwd(folder, sizeof(folder)));
	put("proc/self/mountinfo",
	    "31 1 0:27 /other %s/%s/wrong rw - cgroup2 cgroup2 rw\n"
	    "32 1 0:27 /../up %s/%s/wrong rw - cgroup2 cgroup2 rw\n"
	    "33 1 0:27 /box %s/%s/part rw - cgroup2 cgroup2 rw\n",
	    folder, root, folder, root, folder, root);
	put("wrong/memory.oom.group", "1\n");
	put("part/memory.oom.group", "0\n");
	place("/box", "/box");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	put("part/memory.oom.group", "1\n");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_OOM_GROUP);
	place("/box/one", "/box/two");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_OOM_GROUP);
	place("/boxes", "/boxes");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
}

static void unit__the_innermost_of_both(void **state)
{
	(void)state;
	place("/system.slice/storaged.service/a",
	      "/system.slice/storaged.service");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_UNIT);
	assert_non_null(strstr(text, "stopping storaged.service"));
	assert_non_null(strstr(text, "KillMode=process"));
	place("/a.service/b.service", "/a.service/b.service");
	assert_int_equal(find(PROGRAM, KEEPER), FATE_UNIT);
	assert_non_null(strstr(text, "stopping b.service"));
	place("/system.slice/storaged.service", "/system.slice/keeper.service");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	/* a login session is in the user's manager as everything else is */
	place("/user.slice/user@1000.service/app.scope",
	      "/user.slice/user@1000.service/app.scope");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	place("/services", "/services");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	place("/.service", "/.service");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
}

static void all__in_one_sentence(void **state)
{
	(void)state;
	put("a tree/memory.oom.group", "1\n");
	place("/storaged.service", "/storaged.service");
	assert_int_equal(find(1, KEEPER),
			 FATE_PID_NAMESPACE | FATE_OOM_GROUP | FATE_UNIT);
	assert_null(strchr(text, '\n'));
	assert_non_null(strstr(text, "storaged.service"));
	assert_ptr_equal(strstr(text, "DAXMR_KEEPER"),
			 strrchr(text, 'X') - strlen("DAX") + 1);
}

static void nothing_to_read__nothing_is_found(void **state)
{
	char long_name[3000];

	(void)state;
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	assert_string_equal(text, "");
	put("proc/self/cgroup", "4:memory:/x\n1:name=systemd:/a.service\n");
	put("proc/77/cgroup", "4:memory:/x\n1:name=systemd:/a.service\n");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	put("proc/77/cgroup", "%s", "");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	put("proc/self/mountinfo", "nonsense\n31 - cgroup2 cgroup2\n\n");
	place("/box", "/box");
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	put("proc/self/cgroup", "0::/%s%s\n", long_name, long_name);
	assert_int_equal(find(PROGRAM, KEEPER), 0);
	/* the real ones can be read, whatever they say */
	assert_true(fate_find(getpid(), text, sizeof(text)) >= 0);
}

#define fate_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fate_test(pid_1__takes_its_keeper_along),
		fate_test(oom_group__at_or_above_both),
		fate_test(oom_group__mount_of_a_part),
		fate_test(unit__the_innermost_of_both),
		fate_test(all__in_one_sentence),
		fate_test(nothing_to_read__nothing_is_found),
	};

	return cmocka_run_group_tests_name("lease fate", tests, NULL, NULL);
}
