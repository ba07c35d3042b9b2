/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * On which open file description a lease is taken: by descriptor and by
 * mapping, whatever became of descriptor and path meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lease.h"
#include "lease_file.h"
#include "reason.h"
#include "unit.h"

static struct lease_engine *engine;
static struct file file;

static void start(void)
{
	struct lease_config config = {.keeper_path = KEEPER_PATH};

	assert_int_equal(lease_engine_start(&config, &engine), 0);
}

static int setup(void **state)
{
	(void)state;
	file_make(&file, 4 * PAGE);
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lease_engine_stop(engine);
	file_remove(&file);
	return 0;
}

static char *map(int fd, int protection, int flags)
{
	void *addr = mmap(NULL, 4 * PAGE, protection, flags, fd, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	return addr;
}

/* As perftest and libpmem do: the descriptor is closed after mmap(). */
static char *map_and_close(void)
{
	char *addr = map(file.fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	close(file.fd);
	file.fd = -1;
	return addr;
}

static int acquire_at(const void *addr, int type, struct lease **ret)
{
	struct lease_want want = {
		.fd = -1,
		.addr = (uintptr_t)addr,
		.type = type,
		.length = 4 * PAGE,
	};

	return lease_acquire(engine, &want, ret);
}

static struct lease *acquire(const void *addr)
{
	struct lease *lease = NULL;
	int r = acquire_at(addr, LEASE_TYPE_AUTO, &lease);

	if (r)
		fail_msg("%d: %s", r, reason_text());
	return lease;
}

static void check_refused(const void *addr, int error, const char *text)
{
	struct lease *none = NULL;

	assert_int_equal(acquire_at(addr, LEASE_TYPE_AUTO, &none), error);
	if (!strstr(reason_text(), text))
		fail_msg("'%s' is not in: %s", text, reason_text());
	assert_null(none);
}

static void release(struct lease *lease)
{
	assert_int_equal(lease_release(lease, 0, 4 * PAGE, INT64_MAX), 0);
}

static bool is_held(void *lease)
{
	return lease_state(lease) == RECALL_HELD;
}

/* A reader comes and goes; it sees what is mapped. */
static void check_goes_round(struct lease *lease, const char *path)
{
	struct file other = {.fd = -1};

	snprintf(other.path, sizeof(other.path), "%s", path);
	wait_for(is_held, lease, "the lease is held");
	file_check_let_in(&other, O_RDWR);
	wait_for(is_held, lease, "the lease is held again");
}

static void mapping__whose_descriptor_is_open(void **state)
{
	char *addr = map(file.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct lease *lease = acquire(addr + PAGE);

	(void)state;
	/* it is the program's own description */
	assert_int_equal(lease_of(file.fd), F_WRLCK);
	check_goes_round(lease, file.path);
	release(lease);
	munmap(addr, 4 * PAGE);
}

static void mapping__whose_descriptor_was_closed(void **state)
{
	char *addr = map_and_close();
	struct lease *lease;

	(void)state;
	strcpy(addr, "before");
	lease = acquire(addr);
	assert_true(file_lease_holder(&file) > 0);
	assert_string_equal(addr, "before");
	check_goes_round(lease, file.path);
	release(lease);
	munmap(addr, 4 * PAGE);
}

static void mapping__several_of_different_descriptions(void **state)
{
	int fd = open(file.path, O_RDWR | O_CLOEXEC);
	char *first = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *second;
	struct lease *lease = NULL, *again;

	(void)state;
	close(fd);
	fd = open(file.path, O_RDONLY | O_CLOEXEC);
	second = map(fd, PROT_READ, MAP_SHARED);
	close(fd);
	/* by the third, which is still open */
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, 4 * PAGE, &lease),
		0);
	strcpy(first, "the same bytes");
	assert_string_equal(second, "the same bytes");
	again = acquire(first);
	assert_ptr_equal(lease, again);
	again = acquire(second);
	assert_ptr_equal(lease, again);
	check_goes_round(lease, file.path);
	for (int i = 0; i < 3; i++)
		release(lease);
	munmap(first, 4 * PAGE);
	munmap(second, 4 * PAGE);
}

static void mapping__that_may_never_write_has_a_read_lease(void **state)
{
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);
	char *addr = map(fd, PROT_READ, MAP_SHARED);
	struct lease *lease;

	(void)state;
	close(fd);
	close(file.fd);
	file.fd = -1;
	lease = acquire(addr);
	assert_true(file_lease_holder(&file) > 0);
	fd = open(file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(lease_state(lease), RECALL_HELD);
	close(fd);
	release(lease);
	munmap(addr, 4 * PAGE);
}

static void mapping__for_writing_has_no_read_lease(void **state)
{
	char *addr = map(file.fd, PROT_READ, MAP_SHARED);
	struct lease *lease = NULL;

	(void)state;
	assert_int_equal(acquire_at(addr, F_RDLCK, &lease), -EBADF);
	assert_non_null(strstr(reason_text(), "open for writing"));
	munmap(addr, 4 * PAGE);
}

static void descriptors__two_of_this_program_are_named(void **state)
{
	int other = open(file.path, O_RDONLY | O_CLOEXEC);
	char *addr = map(file.fd, PROT_READ, MAP_SHARED), text[64];

	(void)state;
	snprintf(text, sizeof(text), "this program (descriptor %d beside %d)",
		 other, file.fd);
	check_refused(addr, -EBUSY, text);
	/* one that cannot be leased, beside a mapping */
	close(file.fd);
	file.fd = -1;
	snprintf(text, sizeof(text), "this program (descriptor %d)", other);
	check_refused(addr, -EBUSY, text);
	close(other);
	release(acquire(addr));
	munmap(addr, 4 * PAGE);
}

static void mapping__private_keeps_a_description(void **state)
{
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);
	char *addr = map(fd, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct lease *lease = NULL;

	(void)state;
	close(fd);
	check_refused(addr, -EINVAL, "no shared mapping");
	assert_int_equal(
		acquire_range(engine, file.fd, F_WRLCK, 0, PAGE, &lease),
		-EBUSY);
	assert_non_null(strstr(reason_text(), "MAP_PRIVATE"));
	munmap(addr, 4 * PAGE);
}

static void mapping__none_or_of_no_file(void **state)
{
	char *addr = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1,
			  0),
	     *heap = malloc(100);
	int fd = memfd_create("lease-test", MFD_CLOEXEC);

	(void)state;
	check_refused(heap, -EINVAL, "no shared mapping");
	free(heap);
	munmap(addr, PAGE);
	check_refused(addr, -EFAULT, "nothing is mapped");
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	addr = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	check_refused(addr, -EOPNOTSUPP, "guards nothing");
	munmap(addr, 4 * PAGE);
	close(fd);
}

/* Renamed, and another file has the path: only the inode counts. */
static void path__renamed(void **state)
{
	char *addr = map_and_close(), path[300];
	struct lease *lease;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s-renamed", file.path);
	assert_int_equal(rename(file.path, path), 0);
	fd = open(file.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	lease = acquire(addr);
	assert_int_equal(file_lease_holder(&file), 0);
	check_goes_round(lease, path);
	release(lease);
	munmap(addr, 4 * PAGE);
	unlink(path);
}

static void path__hard_link(void **state)
{
	char *addr = map_and_close(), path[300];
	struct lease *lease;

	(void)state;
	snprintf(path, sizeof(path), "%s-link", file.path);
	assert_int_equal(link(file.path, path), 0);
	lease = acquire(addr);
	check_goes_round(lease, path);
	/* of a link that is gone by now */
	assert_int_equal(unlink(file.path), 0);
	release(lease);
	assert_int_equal(rename(path, file.path), 0);
	munmap(addr, 4 * PAGE);
}

static void path__deleted_with_a_descriptor(void **state)
{
	char *addr = map(file.fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct lease *lease;

	(void)state;
	unlink(file.path);
	lease = acquire(addr);
	assert_int_equal(lease_of(file.fd), F_WRLCK);
	release(lease);
	munmap(addr, 4 * PAGE);
}

/* What opens /proc/self/map_files. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3,
						  0};
	struct __user_cap_data_struct data[2];
	const unsigned int caps[] = {CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE};

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		data[CAP_TO_INDEX(caps[i])].effective &= ~CAP_TO_MASK(caps[i]);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

/* Its engine is one of its own: capabilities and seccomp are a thread's. */
static void in_child(void (*fn)(const char *addr), const char *addr)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		fn(addr);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void check_child_refused(const char *addr, int error, const char *text)
{
	struct lease *none = NULL;

	start();
	if (acquire_at(addr, LEASE_TYPE_AUTO, &none) == error &&
	    strstr(reason_text(), text))
		_exit(0);
	fprintf(stderr, "not '%s': %s\n", text, reason_text());
	_exit(1);
}

static void refuse_deleted(const char *addr)
{
	drop_capabilities();
	check_child_refused(addr, -ENOENT, "keep the descriptor open");
}

/* A file that has what the kernel shows for a name is not taken for it. */
static void path__deleted_without_a_descriptor(void **state)
{
	char *addr = map_and_close(), path[300];
	struct lease *lease;
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s (deleted)", file.path);
	unlink(file.path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	in_child(refuse_deleted, addr);
	/* by /proc/self/map_files, if we may */
	if (geteuid() == 0) {
		lease = acquire(addr);
		strcpy(addr, "nobody else can ever see this");
		release(lease);
	} else {
		check_refused(addr, -ENOENT, "has been deleted");
	}
	unlink(path);
	munmap(addr, 4 * PAGE);
}

static void forbid_getfd(const char *addr)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_getfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(2);
	check_child_refused(addr, -EPERM, "seccomp");
}

static void descriptor__that_seccomp_keeps_back(void **state)
{
	char *addr = map(file.fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	(void)state;
	in_child(forbid_getfd, addr);
	munmap(addr, 4 * PAGE);
}

static void take_lease(void *arg)
{
	int fd = open(arg, O_RDONLY | O_CLOEXEC);

	signal(SIGIO, SIG_IGN);
	if (fd < 0 || fcntl(fd, F_SETLEASE, F_RDLCK))
		_exit(1);
}

static void lease__of_another_program(void **state)
{
	int fd = open(file.path, O_RDONLY | O_CLOEXEC);
	char *addr = map(fd, PROT_READ, MAP_SHARED);
	struct lease *lease = NULL;
	struct child child;

	(void)state;
	close(fd);
	close(file.fd);
	file.fd = -1;
	child_start(&child, take_lease, file.path);
	assert_int_equal(acquire_at(addr, F_WRLCK, &lease), -EBUSY);
	assert_non_null(strstr(reason_text(), "lease of another program"));
	child_end(&child);
	assert_int_equal(acquire_at(addr, F_WRLCK, &lease), 0);
	release(lease);
	munmap(addr, 4 * PAGE);
}

static void try_locks(void *arg)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fcntl(fd, F_GETLK, &lock) || lock.l_type == F_UNLCK ||
	    lock.l_start != 10 || !flock(fd, LOCK_EX | LOCK_NB) ||
	    errno != EWOULDBLOCK)
		_exit(1);
	close(fd);
}

/* Of a description that a second one, only mapped, gives way to. */
static void locks__of_the_descriptor_stay(void **state)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = 10,
		.l_len = 5,
	};
	int fd = open(file.path, O_RDWR | O_CLOEXEC);
	char *addr = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct lease *lease;
	struct child child;

	(void)state;
	close(fd);
	assert_int_equal(fcntl(file.fd, F_SETLK, &lock), 0);
	assert_int_equal(flock(file.fd, LOCK_EX), 0);
	lease = acquire(addr);
	for (int i = 0; i < 2; i++) {
		child_start(&child, try_locks, file.path);
		child_end(&child);
		if (!i)
			release(lease);
	}
	munmap(addr, 4 * PAGE);
}

static void try_flock(void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK)
		_exit(1);
	close(fd);
}

static void locks__that_only_a_mapping_keeps_are_not_lost(void **state)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct child child;
	char *addr;
	int fd;

	(void)state;
	assert_int_equal(flock(file.fd, LOCK_EX), 0);
	addr = map_and_close();
	check_refused(addr, -EBUSY, "flock");
	child_start(&child, try_flock, file.path);
	child_end(&child);
	munmap(addr, 4 * PAGE);

	fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_SH), 0);
	addr = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	close(fd);
	check_refused(addr, -EBUSY, "flock");
	child_start(&child, try_flock, file.path);
	child_end(&child);
	munmap(addr, 4 * PAGE);

	fd = open(file.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	addr = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	close(fd);
	check_refused(addr, -EBUSY, "OFD");
	munmap(addr, 4 * PAGE);
}

static bool is_yielded(void *lease)
{
	return lease_state(lease) == RECALL_YIELDED;
}

/* The program's own second open, of which a mapping is left. */
static void yielded__by_a_second_mapping_is_healed(void **state)
{
	char *addr = map_and_close(), *second;
	struct lease *lease = acquire(addr), *again;
	int fd = open(file.path, O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	second = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	wait_for(is_yielded, lease, "the program's open breaks it");
	close(fd);
	again = acquire(second);
	assert_ptr_equal(lease, again);
	wait_for(is_held, lease, "the lease is held again");
	strcpy(addr, "the same bytes");
	assert_string_equal(second, "the same bytes");
	release(lease);
	release(lease);
	munmap(addr, 4 * PAGE);
	munmap(second, 4 * PAGE);
}

#define description_test(name)                                                 \
	cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		description_test(mapping__whose_descriptor_is_open),
		description_test(mapping__whose_descriptor_was_closed),
		description_test(mapping__several_of_different_descriptions),
		description_test(
			mapping__that_may_never_write_has_a_read_lease),
		description_test(mapping__for_writing_has_no_read_lease),
		description_test(descriptors__two_of_this_program_are_named),
		description_test(mapping__private_keeps_a_description),
		description_test(mapping__none_or_of_no_file),
		description_test(path__renamed),
		description_test(path__hard_link),
		description_test(path__deleted_with_a_descriptor),
		description_test(path__deleted_without_a_descriptor),
		description_test(descriptor__that_seccomp_keeps_back),
		description_test(lease__of_another_program),
		description_test(locks__of_the_descriptor_stay),
		description_test(locks__that_only_a_mapping_keeps_are_not_lost),
		description_test(yielded__by_a_second_mapping_is_healed),
	};

	if (file_cannot_lease())
		return 77;
	return cmocka_run_group_tests_name("lease description", tests, NULL,
					   NULL);
}
