/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transfers of the program on a file of which parts have a shadow: each sees
 * what the mapping sees, and says what the kernel would. read(2) and write(2)
 * of the test itself are past all that: the file as others have it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "lease_stage.h"
#include "own.h"
#include "own_gate.h"
#include "own_io.h"
#include "unit.h"

#define PAGES  32UL
#define LENGTH (PAGES * PAGE)
/* The file's end, in the middle of a block. */
#define END (LENGTH - 1000)

static struct lease_engine *engine;
static struct lease *lease;
static struct file file;
static dev_t dev;
static ino_t ino;
static char *map;
static char *bytes; /* room for all of it */

static atomic_int changes; /* of others */

static void changed(void *arg, struct lease *of,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)of;
	(void)missed;
	if (report->cause == RECALL_CHANGED || report->theirs ||
	    report->conflicts)
		atomic_fetch_add(&changes, 1);
}

static void stage(uint64_t offset, uint64_t length)
{
	lease = stage_range(engine, file.fd, F_WRLCK, offset, length);
}

/* Pages 2 to 5 and 8 to the end have a shadow, in which all is changed. */
static int set_up(void **state)
{
	struct lease_config config = {
		.keeper_path = KEEPER_PATH,
		.observer = {.changed = changed},
	};
	struct stat st;

	(void)state;
	file_make(&file, END);
	assert_int_equal(fstat(file.fd, &st), 0);
	dev = st.st_dev;
	ino = st.st_ino;
	bytes = malloc(2 * LENGTH);
	memset(bytes, 'f', LENGTH);
	assert_int_equal(pwrite(file.fd, bytes, END, 0), END);
	map = file_map(&file, LENGTH);
	idler_start();
	assert_int_equal(lease_engine_start(&config, &engine), 0);
	stage(2 * PAGE, 4 * PAGE);
	stage(8 * PAGE, END - 8 * PAGE);
	memset(map + 2 * PAGE, 's', 4 * PAGE);
	memset(map + 8 * PAGE, 's', END - 8 * PAGE);
	return 0;
}

static int tear_down(void **state)
{
	struct stat st;

	(void)state;
	unstage_range(lease, 2 * PAGE, 4 * PAGE);
	unstage_range(lease, 8 * PAGE, END - 8 * PAGE);
	lease_engine_stop(engine);
	idler_stop();
	/* what the mapping shows is what others read */
	assert_int_equal(fstat(file.fd, &st), 0);
	assert_true(st.st_size <= (off_t)LENGTH);
	assert_int_equal(pread(file.fd, bytes, LENGTH, 0), st.st_size);
	assert_memory_equal(bytes, map, st.st_size);
	munmap(map, LENGTH);
	free(bytes);
	file_remove(&file);
	return 0;
}

static ssize_t run(struct own_io *io)
{
	struct own_io_done done;

	io->fd = file.fd;
	io->status |= fcntl(file.fd, F_GETFL);
	errno = 77;
	assert_true(own_io(engine, dev, ino, io, &done));
	assert_int_equal(errno, 77);
	return done.result;
}

static ssize_t reads(void *to, size_t length, int64_t offset)
{
	struct own_io io = {.buffer = {to, length}, .offset = offset};

	return run(&io);
}

static ssize_t writes(const void *from, size_t length, int64_t offset)
{
	struct own_io io = {
		.buffer = {(void *)from, length},
		.offset = offset,
		.is_write = true,
	};

	return run(&io);
}

static off_t size_of_file(void)
{
	struct stat st;

	assert_int_equal(fstat(file.fd, &st), 0);
	return st.st_size;
}

static void read__sees_shadow_and_file(void **state)
{
	(void)state;
	memset(bytes, 0, LENGTH);
	assert_int_equal(reads(bytes, LENGTH, 0), END);
	assert_memory_equal(bytes, map, END);
	assert_int_equal(bytes[2 * PAGE - 1], 'f');
	assert_int_equal(bytes[2 * PAGE], 's');
	assert_int_equal(bytes[6 * PAGE - 1], 's');
	assert_int_equal(bytes[6 * PAGE], 'f');
	assert_int_equal(bytes[END], 0);
	map[3 * PAGE + 1] = 'x';
	assert_int_equal(reads(bytes, 3, 3 * PAGE), 3);
	assert_memory_equal(bytes, "sxs", 3);
}

static void read__at_the_end_is_short_then_nothing(void **state)
{
	(void)state;
	assert_int_equal(reads(bytes, PAGE, END - 10), 10);
	assert_int_equal(reads(bytes, PAGE, END), 0);
	assert_int_equal(reads(bytes, PAGE, LENGTH + PAGE), 0);
	assert_int_equal(reads(bytes, 0, 3 * PAGE), 0);
	assert_int_equal(reads(bytes, (size_t)-1, 3 * PAGE), -EINVAL);
}

static void
write__is_in_the_mapping_and_past_the_shadow_in_the_file(void **state)
{
	char text[8] = "";

	(void)state;
	memset(bytes, 'w', LENGTH);
	assert_int_equal(writes(bytes, 5 * PAGE, PAGE + 1), 5 * PAGE);
	assert_int_equal(map[PAGE], 'f');
	assert_memory_equal(map + PAGE + 1, bytes, 5 * PAGE);
	assert_int_equal(map[6 * PAGE + 1], 'f');
	assert_int_equal(pread(file.fd, text, 1, PAGE + 1), 1);
	assert_int_equal(text[0], 'w');
	assert_int_equal(pread(file.fd, text, 1, 6 * PAGE), 1);
	assert_int_equal(text[0], 'w');
	assert_int_equal(size_of_file(), END);
}

static void write__is_not_taken_for_somebody_elses(void **state)
{
	(void)state;
	memset(bytes, 'w', LENGTH);
	atomic_store(&changes, 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(writes(bytes, LENGTH / 2, i), LENGTH / 2);
		assert_int_equal(writes(bytes, 10, END + 10L * i), 10);
	}
	/* The keeper has seen all that was before. */
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(atomic_load(&changes), 0);
	assert_int_equal(size_of_file(), END + 200);
}

/* Also for another reader, who comes next. */
static void write__beyond_the_end_makes_the_file_longer(void **state)
{
	(void)state;
	assert_int_equal(writes("abc", 3, END - 1), 3);
	assert_int_equal(size_of_file(), END + 2);
	assert_memory_equal(map + END - 1, "abc", 3);
	assert_int_equal(writes("d", 1, END + 4), 1);
	assert_int_equal(reads(bytes, 100, END - 2), 7);
	assert_memory_equal(bytes, "sabc\0\0d", 7);
	/* over the border of the extent, into nothing */
	memset(bytes, 'e', PAGE);
	assert_int_equal(writes(bytes, PAGE, LENGTH - 10), PAGE);
	assert_int_equal(size_of_file(), LENGTH - 10 + PAGE);
	assert_int_equal(reads(bytes, PAGE, LENGTH), PAGE - 10);
	assert_int_equal(bytes[PAGE - 11], 'e');
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(pread(file.fd, bytes, PAGE, LENGTH - 11), PAGE);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(bytes[1], 'e');
	assert_int_equal(ftruncate(file.fd, LENGTH), 0);
}

static bool shows_theirs(void *arg)
{
	(void)arg;
	return !memcmp(map + END - 500, "theirs", 6);
}

/* In the block that has just grown by us, and has been flushed since. */
static void write__beyond_the_end_leaves_no_conflict_behind(void **state)
{
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	assert_int_equal(writes("abc", 3, END), 3);
	assert_int_equal(lease_flush(lease, 0, LENGTH), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int fd = open(file.path, O_RDWR | O_CLOEXEC);

		_exit(pwrite(fd, "theirs", 6, END - 500) != 6);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	wait_for(shows_theirs, NULL, "what others wrote is in the mapping");
	assert_memory_equal(map + END, "abc", 3);
}

static bool lets_nobody_in(void *arg)
{
	struct own_gate *gate;

	(void)arg;
	if (own_gate_enter(engine, dev, ino, false, &gate) == -EAGAIN)
		return true;
	own_gate_leave(engine, gate);
	return false;
}

static void *follow_the_end(void *arg)
{
	struct own own;

	own_begin(engine, dev, ino, KEEPER_OWN_CHANGE, &own);
	own.effect = OWN_RESIZED;
	own_end(&own);
	return arg;
}

/* Who follows the file's end comes in the middle of it. */
static void write__beyond_the_end_is_not_taken_for_a_tail(void **state)
{
	struct own_gate *gate;
	struct own own;
	pthread_t thread;

	(void)state;
	/* as own_io() does it */
	assert_int_equal(own_gate_enter(engine, dev, ino, true, &gate), 0);
	own_begin(engine, dev, ino, KEEPER_OWN_WRITE, &own);
	memcpy(map + END, "abc", 3);
	pthread_create(&thread, NULL, follow_the_end, NULL);
	wait_for(lets_nobody_in, NULL, "the end of the file is followed");
	assert_memory_equal(map + END, "abc", 3);
	assert_int_equal(pwrite(file.fd, "abc", 3, END), 3);
	own_end(&own);
	own_gate_leave(engine, gate);
	pthread_join(thread, NULL);
	assert_memory_equal(map + END, "abc", 3);
	/* it is open again */
	assert_int_equal(writes("d", 1, END + 3), 1);
	assert_int_equal(reads(bytes, 100, END), 4);
	assert_memory_equal(bytes, "abcd", 4);
}

static void write__appends(void **state)
{
	struct own_io io = {
		.buffer = {(char *)"12345", 5},
		.status = O_APPEND,
		.offset = OWN_IO_POSITION,
		.is_write = true,
	};

	(void)state;
	assert_int_equal(run(&io), 5);
	assert_int_equal(lseek(file.fd, 0, SEEK_CUR), END + 5);
	io.offset = 0; /* pwrite() appends as well */
	assert_int_equal(run(&io), 5);
	io.status = 0;
	io.flags = RWF_APPEND;
	assert_int_equal(run(&io), 5);
	assert_int_equal(size_of_file(), END + 15);
	assert_memory_equal(map + END, "123451234512345", 15);
	assert_int_equal(map[0], 'f');
}

static void position__moves_on(void **state)
{
	struct own_io io = {.buffer = {bytes, 3 * PAGE},
			    .offset = OWN_IO_POSITION};

	(void)state;
	assert_int_equal(lseek(file.fd, PAGE, SEEK_SET), PAGE);
	assert_int_equal(run(&io), 3 * PAGE);
	assert_memory_equal(bytes, map + PAGE, 3 * PAGE);
	assert_int_equal(lseek(file.fd, 0, SEEK_CUR), 4 * PAGE);
	io.is_write = true;
	io.buffer = (struct iovec){(char *)"xyz", 3};
	assert_int_equal(run(&io), 3);
	assert_memory_equal(map + 4 * PAGE, "xyzs", 4);
	assert_int_equal(lseek(file.fd, 0, SEEK_CUR), 4 * PAGE + 3);
	assert_int_equal(lseek(file.fd, END - 1, SEEK_SET), END - 1);
	io.is_write = false;
	io.buffer = (struct iovec){bytes, 10};
	assert_int_equal(run(&io), 1);
	assert_int_equal(run(&io), 0);
	assert_int_equal(lseek(file.fd, 0, SEEK_CUR), END);
}

static void vector__goes_over_borders_and_empty_ones(void **state)
{
	struct iovec list[40];
	struct own_io io = {.vector = list, .count = 40, .offset = PAGE + 7};
	size_t length = 0;

	(void)state;
	memset(bytes, 0, 2 * LENGTH);
	for (size_t i = 0; i < 40; i++) {
		list[i].iov_len = i < 20 && i != 3 ? 0 : 500 + i;
		length += list[i].iov_len;
		list[i].iov_base = bytes + LENGTH - length;
	}
	assert_int_equal(run(&io), length);
	for (size_t i = 0, at = PAGE + 7; i < 40; at += list[i++].iov_len)
		assert_memory_equal(list[i].iov_base, map + at,
				    list[i].iov_len);
	for (size_t i = 0; i < 40; i++)
		memset(list[i].iov_base, 'A' + (int)i, list[i].iov_len);
	io.is_write = true;
	assert_int_equal(run(&io), length);
	for (size_t i = 0, at = PAGE + 7; i < 40; at += list[i++].iov_len)
		assert_memory_equal(list[i].iov_base, map + at,
				    list[i].iov_len);
	io.count = 0;
	assert_int_equal(run(&io), 0);
}

static void vector__what_is_no_list_is_refused(void **state)
{
	struct iovec list[2] = {{bytes, SSIZE_MAX}, {bytes, 1}};
	struct own_io io = {.vector = list, .count = 2, .offset = PAGE};

	(void)state;
	assert_int_equal(run(&io), -EINVAL);
	io.vector = (const struct iovec *)16;
	assert_int_equal(run(&io), -EFAULT);
	io = (struct own_io){.buffer = {bytes, 1}, .flags = 0x4000};
	assert_int_equal(run(&io), -EOPNOTSUPP);
}

/* As the kernel: what was moved before it counts. */
static void buffer__that_is_bad_is_no_crash(void **state)
{
	char *hole = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(hole != MAP_FAILED);
	memset(hole, 'h', 2 * PAGE);
	munmap(hole + 2 * PAGE, PAGE);
	assert_int_equal(reads((void *)16, 100, 3 * PAGE), -EFAULT);
	assert_int_equal(writes((void *)16, 100, 3 * PAGE), -EFAULT);
	assert_int_equal(map[3 * PAGE], 's');
	assert_int_equal(reads(hole + PAGE, 2 * PAGE, 3 * PAGE), PAGE);
	assert_memory_equal(hole + PAGE, map + 3 * PAGE, PAGE);
	assert_int_equal(writes(hole, 3 * PAGE, 3 * PAGE), 2 * PAGE);
	assert_memory_equal(map + 3 * PAGE, hole, 2 * PAGE);
	assert_int_equal(map[5 * PAGE], 's');
	/* at the end: not longer than there is something for it */
	assert_int_equal(writes(hole + 2 * PAGE - 5, 100, END), 5);
	assert_int_equal(size_of_file(), END + 5);
	munmap(hole, 2 * PAGE);
	/* read-only memory */
	hole = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(reads(hole, 100, 3 * PAGE), -EFAULT);
	munmap(hole, PAGE);
}

static void buffer__in_the_mapping_itself(void **state)
{
	(void)state;
	for (size_t i = 0; i < END; i++)
		map[i] = (char)(i / 37 * 11 + i);
	memcpy(bytes, map, END);
	assert_int_equal(reads(map + 20 * PAGE, 5 * PAGE, PAGE + 5), 5 * PAGE);
	memcpy(bytes + 20 * PAGE, bytes + PAGE + 5, 5 * PAGE);
	assert_memory_equal(map, bytes, END);
	assert_int_equal(writes(map + 10 * PAGE + 3, 5 * PAGE, 2 * PAGE - 9),
			 5 * PAGE);
	memcpy(bytes + 2 * PAGE - 9, bytes + 10 * PAGE + 3, 5 * PAGE);
	assert_memory_equal(map, bytes, END);
}

#define RECORD	16
#define RECORDS 2000

static void *write_records(void *arg)
{
	char record[RECORD];

	memset(record, *(char *)arg, RECORD);
	for (int i = 0; i < RECORDS; i++) {
		struct own_io io = {
			.fd = file.fd,
			.status = O_RDWR,
			.buffer = {record, RECORD},
			.offset = OWN_IO_POSITION,
			.is_write = true,
		};
		struct own_io_done done;

		if (!own_io(engine, dev, ino, &io, &done) ||
		    done.result != RECORD)
			return arg;
	}
	return NULL;
}

/* None is written over another: the position is one thread's at a time. */
static void position__is_shared_by_threads(void **state)
{
	char names[2] = {'1', '2'};
	size_t count[2] = {0, 0};
	pthread_t threads[2];
	void *failed;

	(void)state;
	assert_int_equal(lseek(file.fd, PAGE, SEEK_SET), PAGE);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, write_records, &names[i]);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	for (size_t i = 0; i < 2UL * RECORDS; i++) {
		const char *record = map + PAGE + i * RECORD;

		for (size_t n = 1; n < RECORD; n++)
			assert_int_equal(record[n], record[0]);
		count[0] += record[0] == '1';
		count[1] += record[0] == '2';
	}
	assert_int_equal(count[0], RECORDS);
	assert_int_equal(count[1], RECORDS);
}

/* What its caller then does. */
static void durable__is_said_of_what_is_in_a_shadow(void **state)
{
	struct own_io io = {
		.fd = file.fd,
		.buffer = {(char *)"durable", 7},
		.offset = 10 * PAGE,
		.is_write = true,
	};
	struct own_io_done done;

	(void)state;
	assert_true(own_io(engine, dev, ino, &io, &done));
	assert_false(done.is_to_sync);
	io.status = O_DSYNC;
	assert_true(own_io(engine, dev, ino, &io, &done));
	assert_true(done.is_to_sync);
	assert_int_equal(done.offset, 10 * PAGE);
	io.status = O_APPEND;
	io.flags = RWF_SYNC;
	assert_true(own_io(engine, dev, ino, &io, &done));
	assert_true(done.is_to_sync);
	assert_int_equal(done.offset, END);
	io.status = 0;
	io.offset = 0;
	assert_true(own_io(engine, dev, ino, &io, &done));
	assert_false(done.is_to_sync);
}

static atomic_int too_large;

static void count_too_large(int signal)
{
	(void)signal;
	atomic_fetch_add(&too_large, 1);
}

static void write__beyond_the_limit_is_signalled(void **state)
{
	struct sigaction before, action = {.sa_handler = count_too_large};
	struct rlimit limit, old;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 12 * PAGE;
	assert_int_equal(sigaction(SIGXFSZ, &action, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	memset(bytes, 'l', 2 * PAGE);
	assert_int_equal(writes(bytes, 2 * PAGE, 11 * PAGE), PAGE);
	assert_int_equal(atomic_load(&too_large), 0);
	assert_int_equal(writes(bytes, PAGE, 12 * PAGE), -EFBIG);
	assert_int_equal(atomic_load(&too_large), 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(sigaction(SIGXFSZ, &before, NULL), 0);
	assert_int_equal(map[12 * PAGE - 1], 'l');
	assert_int_equal(map[12 * PAGE], 's');
}

/* Without process_vm_readv() and the other: of one thread. */
static void *under_a_filter(void *arg)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0,
			 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {5, filter};
	struct iovec list[] = {{bytes, PAGE}, {bytes + PAGE, PAGE}};
	struct own_io io = {.vector = list, .count = 2, .offset = 3 * PAGE};

	(void)arg;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return (char *)"no filter";
	if (run(&io) != (ssize_t)(2 * PAGE) ||
	    memcmp(bytes, map + 3 * PAGE, 2 * PAGE) != 0)
		return (char *)"not read";
	memset(bytes, 'p', PAGE);
	if (writes(bytes, PAGE, 3 * PAGE) != (ssize_t)PAGE ||
	    memcmp(bytes, map + 3 * PAGE, PAGE) != 0)
		return (char *)"not written";
	return NULL;
}

static void filter__that_forbids_the_copy_does_not_matter(void **state)
{
	pthread_t thread;
	void *failed;

	(void)state;
	pthread_create(&thread, NULL, under_a_filter, NULL);
	pthread_join(thread, &failed);
	assert_string_equal(failed ? failed : "", "");
}

static void no_shadow__is_the_kernels_business(void **state)
{
	struct own_io io = {.fd = file.fd, .buffer = {bytes, 1}};
	struct own_io_done done;

	(void)state;
	assert_false(own_io(engine, dev, ino + 1, &io, &done));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(read__sees_shadow_and_file),
		TEST(read__at_the_end_is_short_then_nothing),
		TEST(write__is_in_the_mapping_and_past_the_shadow_in_the_file),
		TEST(write__is_not_taken_for_somebody_elses),
		TEST(write__beyond_the_end_makes_the_file_longer),
		TEST(write__beyond_the_end_leaves_no_conflict_behind),
		TEST(write__beyond_the_end_is_not_taken_for_a_tail),
		TEST(write__appends),
		TEST(position__moves_on),
		TEST(vector__goes_over_borders_and_empty_ones),
		TEST(vector__what_is_no_list_is_refused),
		TEST(buffer__that_is_bad_is_no_crash),
		TEST(buffer__in_the_mapping_itself),
		TEST(position__is_shared_by_threads),
		TEST(durable__is_said_of_what_is_in_a_shadow),
		TEST(write__beyond_the_limit_is_signalled),
		TEST(filter__that_forbids_the_copy_does_not_matter),
		TEST(no_shadow__is_the_kernels_business),
	};
	if (file_cannot_lease())
		return 77;
	if (stage_cannot_trap())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
