/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each call of a program's own that reads or writes a file of which a part has
 * a shadow sees and changes what its mapping shows, and returns what it would
 * without one, errno included.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_staged.h"
#include "alarm_soon.h"
#include "unit.h"

/* What a program that is compiled with _FORTIFY_SOURCE calls. */
ssize_t __read_chk(int fd, void *buffer, size_t length, size_t room);
ssize_t __pread_chk(int fd, void *buffer, size_t length, off_t offset,
		    size_t room);
ssize_t __pread64_chk(int fd, void *buffer, size_t length, off_t offset,
		      size_t room);

/* The part that has a shadow: all of it is 's', the file has zeroes. */
#define START  (4 * PAGE)
#define LENGTH (8 * PAGE)

/* What all calls move: from the file into the shadow and out again. */
#define AT   (START - 10)
#define SIZE (LENGTH + 20)

static bool can_stage;
static char bytes[FILE_SIZE];

static int set_up(void **state)
{
	int r;

	own_setup(state);
	own_map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       own_fd, 0);
	assert_ptr_not_equal(own_map, MAP_FAILED);
	r = own_engine->lease_stage(own_lease, START, LENGTH);
	can_stage = !r;
	if (r)
		print_message("no shadow: %s\n", strerrordesc_np(-r));
	else
		memset(own_map + START, 's', LENGTH);
	return 0;
}

static int tear_down(void **state)
{
	own_wait_until_held();
	if (can_stage)
		assert_int_equal(
			own_engine->lease_unstage(own_lease, START, LENGTH), 0);
	assert_int_equal(
		syscall(SYS_pread64, own_fd, bytes, FILE_SIZE, (off_t)0),
		FILE_SIZE);
	assert_memory_equal(bytes, own_map, FILE_SIZE);
	assert_int_equal(munmap(own_map, FILE_SIZE), 0);
	return own_teardown(state);
}

/* Two buffers next to each other, as one. */
static struct iovec *halves(char *buffer)
{
	static struct iovec list[2];

	list[0] = (struct iovec){buffer, 5000};
	list[1] = (struct iovec){buffer + 5000, SIZE - 5000};
	return list;
}

static void go_to(off_t at)
{
	assert_int_equal(lseek(own_fd, at, SEEK_SET), at);
}

static ssize_t by_read(char *to)
{
	go_to(AT);
	return read(own_fd, to, SIZE);
}
static ssize_t by_read_chk(char *to)
{
	go_to(AT);
	return __read_chk(own_fd, to, SIZE, SIZE);
}
static ssize_t by_readv(char *to)
{
	go_to(AT);
	return readv(own_fd, halves(to), 2);
}
static ssize_t by_pread(char *to)
{
	return pread(own_fd, to, SIZE, AT);
}
static ssize_t by_pread64(char *to)
{
	return pread64(own_fd, to, SIZE, AT);
}
static ssize_t by_pread_chk(char *to)
{
	return __pread_chk(own_fd, to, SIZE, AT, SIZE);
}
static ssize_t by_pread64_chk(char *to)
{
	return __pread64_chk(own_fd, to, SIZE, AT, SIZE);
}
static ssize_t by_preadv(char *to)
{
	return preadv(own_fd, halves(to), 2, AT);
}
static ssize_t by_preadv64(char *to)
{
	return preadv64(own_fd, halves(to), 2, AT);
}
static ssize_t by_preadv2(char *to)
{
	return preadv2(own_fd, halves(to), 2, AT, 0);
}
static ssize_t by_preadv2_at_position(char *to)
{
	go_to(AT);
	return preadv2(own_fd, halves(to), 2, -1, 0);
}
static ssize_t by_preadv64v2(char *to)
{
	return preadv64v2(own_fd, halves(to), 2, AT, RWF_HIPRI);
}
static ssize_t by_write(char *from)
{
	go_to(AT);
	return write(own_fd, from, SIZE);
}
static ssize_t by_writev(char *from)
{
	go_to(AT);
	return writev(own_fd, halves(from), 2);
}
static ssize_t by_pwrite(char *from)
{
	return pwrite(own_fd, from, SIZE, AT);
}
static ssize_t by_pwrite64(char *from)
{
	return pwrite64(own_fd, from, SIZE, AT);
}
static ssize_t by_pwritev(char *from)
{
	return pwritev(own_fd, halves(from), 2, AT);
}
static ssize_t by_pwritev64(char *from)
{
	return pwritev64(own_fd, halves(from), 2, AT);
}
static ssize_t by_pwritev2(char *from)
{
	return pwritev2(own_fd, halves(from), 2, AT, 0);
}
static ssize_t by_pwritev2_at_position(char *from)
{
	go_to(AT);
	return pwritev2(own_fd, halves(from), 2, -1, 0);
}
static ssize_t by_pwritev64v2(char *from)
{
	return pwritev64v2(own_fd, halves(from), 2, AT, 0);
}

struct way {
	const char *name;
	ssize_t (*go)(char *buffer);
	bool moves_on;
};

static void read__by_every_call_is_what_the_mapping_shows(void **state)
{
	const struct way ways[] = {
		{"read", by_read, true},
		{"__read_chk", by_read_chk, true},
		{"readv", by_readv, true},
		{"pread", by_pread, false},
		{"pread64", by_pread64, false},
		{"__pread_chk", by_pread_chk, false},
		{"__pread64_chk", by_pread64_chk, false},
		{"preadv", by_preadv, false},
		{"preadv64", by_preadv64, false},
		{"preadv2", by_preadv2, false},
		{"preadv2 at the position", by_preadv2_at_position, true},
		{"preadv64v2", by_preadv64v2, false},
	};

	(void)state;
	if (!can_stage)
		skip();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		ssize_t n;

		memset(own_map + START, 'a' + (int)i, LENGTH);
		memset(bytes, 'x', sizeof(bytes));
		go_to(1);
		errno = 77;
		n = ways[i].go(bytes);
		if (n != SIZE || errno != 77 ||
		    memcmp(bytes, own_map + AT, SIZE) != 0 ||
		    lseek(own_fd, 0, SEEK_CUR) !=
			    (ways[i].moves_on ? AT + SIZE : 1))
			fail_msg("%s: %zd", ways[i].name, n);
	}
}

static void write__by_every_call_is_in_the_mapping(void **state)
{
	const struct way ways[] = {
		{"write", by_write, true},
		{"writev", by_writev, true},
		{"pwrite", by_pwrite, false},
		{"pwrite64", by_pwrite64, false},
		{"pwritev", by_pwritev, false},
		{"pwritev64", by_pwritev64, false},
		{"pwritev2", by_pwritev2, false},
		{"pwritev2 at the position", by_pwritev2_at_position, true},
		{"pwritev64v2", by_pwritev64v2, false},
	};

	(void)state;
	if (!can_stage)
		skip();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		ssize_t n;

		memset(bytes, 'a' + (int)i, sizeof(bytes));
		go_to(1);
		own_expect_quiet();
		errno = 77;
		n = ways[i].go(bytes);
		if (n != SIZE || errno != 77 ||
		    memcmp(bytes, own_map + AT, SIZE) != 0 || own_map[AT - 1] ||
		    own_map[AT + SIZE] ||
		    lseek(own_fd, 0, SEEK_CUR) !=
			    (ways[i].moves_on ? AT + SIZE : 1))
			fail_msg("%s: %zd", ways[i].name, n);
		own_check_quiet();
		own_check_file(AT, bytes, 10, ways[i].name);
		own_check_file(START + LENGTH, bytes, 10, ways[i].name);
	}
}

static void write__that_is_to_be_durable_is_in_the_file(void **state)
{
	struct iovec one = {bytes, 7};

	(void)state;
	if (!can_stage)
		skip();
	memcpy(bytes, "durable", 7);
	assert_int_equal(pwritev2(own_fd, &one, 1, START + 100, RWF_DSYNC), 7);
	own_check_file(START + 100, "durable", 7, "RWF_DSYNC");
	assert_int_equal(pwritev2(own_fd, &one, 1, START + 200, RWF_SYNC), 7);
	own_check_file(START + 200, "durable", 7, "RWF_SYNC");
}

#define CHECK_REFUSED(call, error)                                             \
	do {                                                                   \
		errno = 0;                                                     \
		assert_int_equal(call, -1);                                    \
		assert_int_equal(errno, error);                                \
	} while (0)

/* The compiler knows better than to call them so. */
typedef ssize_t vector_fn(int fd, const struct iovec *vector, int count,
			  off_t offset);

static void refused__as_by_the_kernel(void **state)
{
	vector_fn *volatile reads = preadv, *volatile writes = pwritev;
	struct iovec one = {bytes, 1}, bad = {(void *)16, 1};
	int reader, writer, path;

	(void)state;
	if (!can_stage)
		skip();
	CHECK_REFUSED(pread(own_fd, bytes, 1, -1), EINVAL);
	CHECK_REFUSED(pwrite(own_fd, bytes, 1, -1), EINVAL);
	CHECK_REFUSED(reads(own_fd, &one, 1, -1), EINVAL);
	CHECK_REFUSED(preadv2(own_fd, &one, 1, -2, 0), EINVAL);
	CHECK_REFUSED(reads(own_fd, &one, -1, START), EINVAL);
	CHECK_REFUSED(reads(own_fd, &one, IOV_MAX + 1, START), EINVAL);
	CHECK_REFUSED(reads(own_fd, NULL, 1, START), EFAULT);
	CHECK_REFUSED(reads(own_fd, &bad, 1, START), EFAULT);
	CHECK_REFUSED(writes(own_fd, (void *)16, 1, START), EFAULT);
	CHECK_REFUSED(preadv2(own_fd, &one, 1, START, 1 << 30), EOPNOTSUPP);
	CHECK_REFUSED(read(-1, bytes, 1), EBADF);
	path = open(own_path, O_PATH);
	reader = open(own_path, O_RDONLY);
	writer = open(own_path, O_WRONLY);
	assert_true(path >= 0 && reader >= 0 && writer >= 0);
	CHECK_REFUSED(pread(path, bytes, 1, START), EBADF);
	CHECK_REFUSED(pwrite(reader, bytes, 1, START), EBADF);
	CHECK_REFUSED(pread(writer, bytes, 1, START), EBADF);
	/* They are the same file, though it is lent out to ourselves now. */
	own_map[START] = 'r';
	assert_int_equal(pread(reader, bytes, 1, START), 1);
	assert_int_equal(bytes[0], 'r');
	assert_int_equal(pwrite(writer, "w", 1, START), 1);
	assert_int_equal(own_map[START], 'w');
	close(reader);
	close(writer);
	close(path);
}

/* To what is no file: as much as there is room for, and no more. */
static void sendfile__of_the_shadow(void **state)
{
	int pair[2], room = PAGE;
	ssize_t n, sent = 0, received = 0;
	off_t at = AT;

	(void)state;
	if (!can_stage)
		skip();
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	while (received < SIZE) {
		n = sendfile(pair[0], own_fd, &at, SIZE - (size_t)sent);
		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		else
			sent += n;
		assert_int_equal(at, AT + sent);
		n = recv(pair[1], bytes + received, PAGE, 0);
		if (n > 0)
			received += n;
	}
	assert_memory_equal(bytes, own_map + AT, SIZE);
	close(pair[0]);
	close(pair[1]);
}

static void sendfile__between_files(void **state)
{
	int other = memfd_create("other", MFD_CLOEXEC);
	off64_t at = AT;

	(void)state;
	if (!can_stage)
		skip();
	go_to(3);
	assert_int_equal(sendfile64(other, own_fd, &at, SIZE), SIZE);
	assert_int_equal(at, AT + SIZE);
	assert_int_equal(lseek(own_fd, 0, SEEK_CUR), 3);
	assert_int_equal(pread(other, bytes, SIZE, 0), SIZE);
	assert_memory_equal(bytes, own_map + AT, SIZE);
	go_to(AT);
	assert_int_equal(sendfile(other, own_fd, NULL, SIZE), SIZE);
	assert_int_equal(lseek(own_fd, 0, SEEK_CUR), AT + SIZE);
	assert_int_equal(lseek(other, 0, SEEK_CUR), 2 * SIZE);
	/* and back */
	memset(bytes, 'b', SIZE);
	assert_int_equal(pwrite(other, bytes, SIZE, 0), SIZE);
	go_to(AT);
	at = 0;
	assert_int_equal(sendfile(own_fd, other, &at, SIZE), SIZE);
	assert_memory_equal(bytes, own_map + AT, SIZE);
	assert_int_equal(lseek(own_fd, 0, SEEK_CUR), AT + SIZE);
	at = FILE_SIZE;
	assert_int_equal(sendfile(other, own_fd, &at, SIZE), 0);
	CHECK_REFUSED(sendfile(-1, own_fd, &at, SIZE), EBADF);
	CHECK_REFUSED(sendfile(other, own_fd, (void *)16, SIZE), EFAULT);
	close(other);
}

static void copy_file_range__between_files_and_within(void **state)
{
	off64_t in = AT, out = 5;
	char path[300];
	int other;

	(void)state;
	if (!can_stage)
		skip();
	snprintf(path, sizeof(path), "%s.other", own_path);
	other = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(other >= 0);
	assert_int_equal(copy_file_range(own_fd, &in, other, &out, SIZE, 0),
			 SIZE);
	assert_int_equal(in, AT + SIZE);
	assert_int_equal(out, SIZE + 5);
	assert_int_equal(pread(other, bytes, SIZE, 5), SIZE);
	assert_memory_equal(bytes, own_map + AT, SIZE);
	memset(bytes, 'c', SIZE);
	assert_int_equal(pwrite(other, bytes, SIZE, 0), SIZE);
	go_to(AT);
	assert_int_equal(
		copy_file_range(other, NULL, own_fd, NULL, SIZE - 3, 0),
		SIZE - 3);
	assert_int_equal(lseek(other, 0, SEEK_CUR), SIZE - 3);
	assert_int_equal(lseek(own_fd, 0, SEEK_CUR), AT + SIZE - 3);
	assert_memory_equal(bytes, own_map + AT, SIZE - 3);
	in = START;
	out = 0;
	assert_int_equal(copy_file_range(own_fd, &in, own_fd, &out, START, 0),
			 START);
	assert_memory_equal(own_map, own_map + START, START);
	CHECK_REFUSED(copy_file_range(own_fd, &in, own_fd, &in, 10, 0), EINVAL);
	CHECK_REFUSED(copy_file_range(own_fd, &in, other, &out, 10, 1), EINVAL);
	close(other);
	assert_int_equal(unlink(path), 0);
}

static void splice__from_it_yes_to_it_no(void **state)
{
	off64_t at = START;
	int ends[2];

	(void)state;
	if (!can_stage)
		skip();
	assert_int_equal(pipe(ends), 0);
	memcpy(own_map + START, "spliced", 7);
	assert_int_equal(splice(own_fd, &at, ends[1], NULL, 7, 0), 7);
	assert_int_equal(read(ends[0], bytes, 7), 7);
	assert_memory_equal(bytes, "spliced", 7);
	assert_int_equal(write(ends[1], "x", 1), 1);
	CHECK_REFUSED(splice(ends[0], NULL, own_fd, &at, 1, 0), EINVAL);
	close(ends[0]);
	close(ends[1]);
}

/* Which reads the file only: what is in a shadow is ours. */
static void lent__calls_and_mapping_are_one(void **state)
{
	(void)state;
	if (!can_stage)
		skip();
	own_lend(O_RDONLY);
	assert_int_equal(pwrite(own_fd, "lent", 4, START + 5), 4);
	assert_memory_equal(own_map + START + 5, "lent", 4);
	own_map[START + 5] = 'L';
	assert_int_equal(pread(own_fd, bytes, 4, START + 5), 4);
	assert_memory_equal(bytes, "Lent", 4);
	own_take_back();
	own_wait_until_held();
	assert_int_equal(fsync(own_fd), 0);
	own_check_file(START + 5, "Lent", 4, "after it");
}

static void child__reads_the_file(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (!can_stage)
		skip();
	/* so that nothing is written to the file */
	own_lend(O_RDONLY);
	own_map[START] = 'n';
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(pread(own_fd, bytes, 1, START) != 1 || bytes[0] == 'n');
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(pread(own_fd, bytes, 1, START), 1);
	assert_int_equal(bytes[0], 'n');
	own_take_back();
}

#define TICKS 200

static atomic_int ticks, wrong;

/* In whatever it interrupts. */
static void read_and_write(int signal)
{
	char byte = 0;

	(void)signal;
	if (pread(own_fd, &byte, 1, START + 50) != 1 || byte != 'h' ||
	    pwrite(own_fd, "h", 1, START + 50) != 1)
		atomic_fetch_add(&wrong, 1);
	if (atomic_fetch_add(&ticks, 1) + 1 < TICKS && alarm_soon(500))
		atomic_fetch_add(&wrong, 1);
}

static void handler__reads_and_writes_in_the_midst_of_it(void **state)
{
	struct sigaction before, action = {.sa_handler = read_and_write};

	(void)state;
	if (!can_stage)
		skip();
	own_map[START + 50] = 'h';
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(alarm_soon(500), 0);
	while (atomic_load(&ticks) < TICKS) {
		assert_int_equal(pread(own_fd, bytes, SIZE, AT), SIZE);
		assert_int_equal(pwrite(own_fd, "h", 1, START + 50), 1);
		go_to(START + 100);
		assert_int_equal(write(own_fd, "xy", 2), 2);
		assert_int_equal(lseek(own_fd, 0, SEEK_CUR), START + 102);
	}
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	assert_int_equal(atomic_load(&wrong), 0);
}

static void *read_for_ever(void *arg)
{
	char byte;

	while (pread(own_fd, &byte, 1, START) == 1)
		;
	return arg;
}

static void cancelled__at_the_next_call(void **state)
{
	pthread_t thread;
	void *end;

	(void)state;
	if (!can_stage)
		skip();
	for (int i = 0; i < 20; i++) {
		pthread_create(&thread, NULL, read_for_ever, NULL);
		usleep(1000);
		pthread_cancel(thread);
		pthread_join(thread, &end);
		assert_ptr_equal(end, PTHREAD_CANCELED);
	}
	/* it has left nothing behind */
	assert_int_equal(own_engine->lease_unstage(own_lease, START, LENGTH),
			 0);
	assert_int_equal(own_engine->lease_stage(own_lease, START, LENGTH), 0);
}

#define OWN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(read__by_every_call_is_what_the_mapping_shows),
		OWN_TEST(write__by_every_call_is_in_the_mapping),
		OWN_TEST(write__that_is_to_be_durable_is_in_the_file),
		OWN_TEST(refused__as_by_the_kernel),
		OWN_TEST(sendfile__of_the_shadow),
		OWN_TEST(sendfile__between_files),
		OWN_TEST(copy_file_range__between_files_and_within),
		OWN_TEST(splice__from_it_yes_to_it_no),
		OWN_TEST(lent__calls_and_mapping_are_one),
		OWN_TEST(child__reads_the_file),
		OWN_TEST(handler__reads_and_writes_in_the_midst_of_it),
		OWN_TEST(cancelled__at_the_next_call),
	};
	int r = own_cannot_lease();

	return r ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
