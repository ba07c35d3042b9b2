/* SPDX-License-Identifier: BSD-2-Clause */
/* A leased file in a program under the preload: own_lease.h. */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "own_lease.h"
#include "unit.h"

#define XFS_MAGIC 0x58465342

const struct engine *own_engine;
struct lease *own_lease;
char own_path[256];
int own_fd = -1;

static const char *folder(void)
{
	const char *dir = getenv("DAXMR_TEST_DAX_DIR");

	return dir ? dir : ".";
}

int own_cannot_lease(void)
{
	const struct engine *(*get)(unsigned int version);
	struct statfs fs;

	*(void **)&get = dlsym(RTLD_DEFAULT, "daxmr_private_engine");
	own_engine = get ? get(DAXMR_ENGINE_VERSION) : NULL;
	if (!own_engine) {
		printf("this is to be run under the preload of the same "
		       "build\n");
		return 1;
	}
	if (statfs(folder(), &fs) ||
	    (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_MAGIC)) {
		printf("%s is neither on ext4 nor on xfs\n", folder());
		return 77;
	}
	return 0;
}

int own_setup(void **state)
{
	struct lease_want want = {.type = F_WRLCK, .length = FILE_SIZE};

	(void)state;
	snprintf(own_path, sizeof(own_path), "%s/own-test-XXXXXX", folder());
	own_fd = mkostemp(own_path, O_CLOEXEC);
	assert_true(own_fd >= 0);
	assert_int_equal(ftruncate(own_fd, FILE_SIZE), 0);
	want.fd = own_fd;
	assert_int_equal(own_engine->lease_acquire(&want, &own_lease), 0);
	assert_true(own_is_held());
	return 0;
}

int own_teardown(void **state)
{
	(void)state;
	own_wait_until_held();
	own_check_let_in();
	own_engine->lease_release(own_lease, 0, FILE_SIZE, INT64_MAX);
	if (own_fd >= 0)
		close(own_fd);
	assert_int_equal(unlink(own_path), 0);
	assert_int_equal(*own_engine->leased_files, 0);
	return 0;
}

bool own_is_held(void)
{
	return own_engine->lease_state(own_lease) == RECALL_HELD;
}

/*
 * The keeper reads what inotify has before it answers an announcement: what
 * came before that is in its count.
 */
static uint64_t reports(void)
{
	struct file_guard guard;

	assert_true(own_engine->changing(&guard, own_fd));
	own_engine->end(&guard);
	return own_engine->lease_reports(own_lease);
}

static uint64_t expected;

void own_expect_quiet(void)
{
	own_wait_until_held();
	expected = reports();
}

void own_check_quiet(void)
{
	uint64_t now = reports();

	if (now != expected)
		fail_msg("%d reports where nothing should have happened",
			 (int)(now - expected));
	assert_true(own_is_held());
}

static bool is_held(void *arg)
{
	(void)arg;
	return own_is_held();
}

void own_wait_until_held(void)
{
	own_wait_for(is_held, NULL, "the lease is held again");
}

void own_wait_for(own_condition *condition, void *arg, const char *what)
{
	double deadline = own_now() + WAIT_SEC;

	while (!condition(arg)) {
		if (own_now() > deadline)
			fail_msg("waited %d s for: %s", WAIT_SEC, what);
		usleep(200);
	}
}

/* Raw in the child: as a program that knows nothing of a preload. */
void own_check_let_in(void)
{
	double start = own_now();
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(syscall(SYS_openat, AT_FDCWD, own_path, O_RDWR, 0) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(own_now() - start < 5);
	own_wait_until_held();
}

double own_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}
