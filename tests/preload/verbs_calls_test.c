/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program under the preload with a staged file: what verbs read and write
 * themselves costs no look at what it is, and all else sees the shadow, also
 * what returns to a driver of verbs without having been called by it.
 *
 * The looks are counted by a system call filter, of one thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "staging.h"

typedef ssize_t read_fn(int fd, void *buffer, size_t length);
typedef ssize_t write_fn(int fd, const void *buffer, size_t length);

struct library {
	void *handle;
	read_fn *read;
	write_fn *write;
	ssize_t (*call_back)(read_fn *function, int fd, void *buffer,
			     size_t length);
};

static const char *driver_path, *late_path, *other_path;
static struct library driver, other;
static struct ibv_mr *mr;

static void open_library(const char *path, struct library *ret)
{
	ret->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!ret->handle)
		fail_msg("%s", dlerror());
	*(void **)&ret->read = dlsym(ret->handle, "driver_read");
	*(void **)&ret->write = dlsym(ret->handle, "driver_write");
	*(void **)&ret->call_back = dlsym(ret->handle, "driver_call_back");
	assert_non_null(ret->read);
	assert_non_null(ret->write);
	assert_non_null(ret->call_back);
}

static volatile sig_atomic_t looks;

/* In place of fstat(): there is no such descriptor. */
static void looked(int signal, siginfo_t *info, void *arg)
{
	ucontext_t *context = arg;

	(void)signal;
	(void)info;
	looks = looks + 1;
	context->uc_mcontext.gregs[REG_RAX] = -EBADF;
}

static void count_looks(void)
{
	struct sigaction action = {
		.sa_sigaction = looked,
		.sa_flags = SA_SIGINFO,
	};
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fstat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(code) / sizeof(code[0]),
		.filter = code,
	};

	assert_int_equal(sigaction(SIGSYS, &action, NULL), 0);
	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program),
			 0);
}

struct looks_of {
	read_fn *read;
	write_fn *write;
	int at_write;
	int at_read;
};

static void *count_in_thread(void *arg)
{
	struct looks_of *of = arg;
	char byte = 'x';
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	count_looks();
	looks = 0;
	assert_int_equal(of->write(ends[1], "y", 1), 1);
	of->at_write = looks;
	looks = 0;
	assert_int_equal(of->read(ends[0], &byte, 1), 1);
	of->at_read = looks;
	assert_int_equal(byte, 'y');
	close(ends[0]);
	close(ends[1]);
	return NULL;
}

/* How often is asked what a pipe is, for a byte that is written and read? */
static struct looks_of count(read_fn *by_read, write_fn *by_write)
{
	struct looks_of of = {.read = by_read, .write = by_write};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, count_in_thread, &of),
			 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	return of;
}

static ssize_t by_pointer_read(int fd, void *buffer, size_t length)
{
	return read(fd, buffer, length);
}

static ssize_t by_pointer_write(int fd, const void *buffer, size_t length)
{
	return write(fd, buffer, length);
}

/* A sanitizer's runtime stands between: its calls are not verbs' own. */
static void need_no_other_interposer(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	print_message("the sanitizer has a read() of its own before ours\n");
	skip();
#endif
}

static void drivers_calls__are_not_looked_at(void **state)
{
	struct looks_of of;

	(void)state;
	need_no_other_interposer();
	of = count(driver.read, driver.write);
	assert_int_equal(of.at_read, 0);
	assert_int_equal(of.at_write, 0);
}

static void other_calls__are_looked_at(void **state)
{
	struct looks_of of = count(other.read, other.write);

	(void)state;
	assert_int_equal(of.at_read, 1);
	assert_int_equal(of.at_write, 1);
	of = count(by_pointer_read, by_pointer_write);
	assert_int_equal(of.at_read, 1);
	assert_int_equal(of.at_write, 1);
}

static void driver_that_comes_later__is_found_by_a_registration(void **state)
{
	static char memory[PAGE];
	struct library late;
	struct ibv_mr *of_memory;

	(void)state;
	need_no_other_interposer();
	open_library(late_path, &late);
	assert_int_equal(count(late.read, late.write).at_read, 1);
	errno = TAKEN;
	of_memory = register_range(memory, sizeof(memory));
	assert_int_equal(errno, TAKEN);
	assert_int_equal(count(late.read, late.write).at_read, 0);
	assert_int_equal(count(driver.read, driver.write).at_read, 0);
	assert_int_equal(ibv_dereg_mr(of_memory), 0);
}

/* Nothing else can come to lie where its calls were. */
static void driver_that_is_closed__stays(void **state)
{
	struct library again;
	void *handle;

	(void)state;
	assert_int_equal(dlclose(driver.handle), 0);
	handle = dlopen(driver_path, RTLD_NOW | RTLD_NOLOAD);
	assert_non_null(handle);
	open_library(driver_path, &again);
	assert_ptr_equal(again.read, driver.read);
	assert_int_equal(dlclose(handle), 0);
	driver = again;
}

/* Jumps: what it returns to is the caller of this. */
ssize_t jump_to_read(int fd, void *buffer, size_t length);
__asm__(".pushsection .text\n"
	".type jump_to_read, @function\n"
	"jump_to_read:\n"
	"	jmp *read@GOTPCREL(%rip)\n"
	".size jump_to_read, . - jump_to_read\n"
	".popsection\n");

static bool file_has(int fd, char letter)
{
	char byte;

	assert_int_equal(syscall(SYS_pread64, fd, &byte, 1, (off_t)0), 1);
	return byte == letter;
}

/*
 * What is stored in the shadow and is not yet in the file. That the file has
 * just been opened makes the keeper write to it for a while.
 */
static void check_sees_shadow(read_fn *function, const struct library *library)
{
	static char letter = 'k';
	int fd = open(staged_file.path, O_RDWR);
	time_t until = time(NULL) + FILE_MAPPING_WAIT_SEC;
	char byte;

	assert_true(fd >= 0);
	do {
		assert_true(time(NULL) < until);
		letter = letter == 'z' ? 'k' : (char)(letter + 1);
		*(volatile char *)staged_file.addr = letter;
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(
			library ? library->call_back(function, fd, &byte, 1)
				: function(fd, &byte, 1),
			1);
	} while (file_has(fd, letter));
	close(fd);
	assert_int_equal(byte, letter);
}

static void others__see_the_shadow(void **state)
{
	(void)state;
	check_sees_shadow(by_pointer_read, NULL);
	check_sees_shadow(other.read, NULL);
	check_sees_shadow(jump_to_read, NULL);
	check_sees_shadow(by_pointer_read, &driver);
}

static void what_a_driver_calls_back__sees_the_shadow(void **state)
{
	read_fn *volatile plain = read;

	(void)state;
	check_sees_shadow(jump_to_read, &driver);
	check_sees_shadow(plain, &driver);
}

static int set_up(void **state)
{
	staging_set_up(state);
	open_library(driver_path, &driver);
	open_library(other_path, &other);
	assert_int_equal(count(driver.read, driver.write).at_read, 0);
	mr = register_range(staged_file.addr, SIZE);
	return 0;
}

static int tear_down(void **state)
{
	assert_int_equal(ibv_dereg_mr(mr), 0);
	dlclose(driver.handle);
	dlclose(other.handle);
	return staging_tear_down(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drivers_calls__are_not_looked_at),
		cmocka_unit_test(other_calls__are_looked_at),
		cmocka_unit_test(others__see_the_shadow),
		cmocka_unit_test(what_a_driver_calls_back__sees_the_shadow),
		cmocka_unit_test(
			driver_that_comes_later__is_found_by_a_registration),
		cmocka_unit_test(driver_that_is_closed__stays),
	};
	int r;

	if (argc != 4) {
		print_message("usage: %s DRIVER DRIVER LIBRARY\n", argv[0]);
		return 1;
	}
	driver_path = argv[1];
	late_path = argv[2];
	other_path = argv[3];
	staging_init();
	r = staging_cannot();
	return r ? r : cmocka_run_group_tests(tests, set_up, tear_down);
}
