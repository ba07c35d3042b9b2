/* SPDX-License-Identifier: BSD-2-Clause */
/* A leased file with a shadow: own_staged.h. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_staged.h"
#include "unit.h"

char *own_map;

bool own_stage(void)
{
	int r;

	own_map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       own_fd, 0);
	assert_ptr_not_equal(own_map, MAP_FAILED);
	r = own_engine->lease_stage(own_lease, 0, FILE_SIZE);
	if (r)
		print_message("no shadow: %s\n", strerrordesc_np(-r));
	return !r;
}

void own_unstage(void)
{
	own_wait_until_held();
	assert_int_equal(own_engine->lease_unstage(own_lease, 0, FILE_SIZE), 0);
	assert_int_equal(munmap(own_map, FILE_SIZE), 0);
}

/* Raw: the hooks on reading would show the shadow. */
void own_check_file(size_t offset, const void *bytes, size_t length,
		    const char *what)
{
	char room[PAGE];

	assert_true(length <= sizeof(room));
	assert_int_equal(syscall(SYS_pread64, own_fd, room, length, offset),
			 length);
	if (memcmp(room, bytes, length))
		fail_msg("%s: '%.*s' is not in the file", what, (int)length,
			 (const char *)bytes);
}

static pid_t other;

/* Raw in the child, which has none of our descriptions but by this open. */
static void lend(int flags, const char *text, size_t offset)
{
	long fd;
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	other = fork();
	assert_true(other >= 0);
	if (!other) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = syscall(SYS_openat, AT_FDCWD, own_path, flags, 0);
		if (fd < 0 || (text && syscall(SYS_pwrite64, fd, text,
					       strlen(text), offset) < 0))
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

void own_lend(int flags)
{
	lend(flags, NULL, 0);
}

void own_lend_written(const char *text, size_t offset)
{
	lend(O_RDWR, text, offset);
}

void own_take_back(void)
{
	int status;

	assert_int_equal(kill(other, SIGKILL), 0);
	assert_int_equal(waitpid(other, &status, 0), other);
}
