/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies at an address: real mappings of each kind, and the two readers of
 * vma.h held against each other over all of this process.
 *
 * With DAXMR_TEST_DAX_DIR, a folder on an fs-dax mount (in the rig), the fs-dax
 * kinds are tested too; the rig's test sees to it that they are not left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "unit.h"

#define PAGE 4096UL

static bool have_ioctl(void)
{
	struct memory memory = {0};

	return memory_look_with(vma_each_ioctl, &memory, 1, &memory) == 0;
}

/* Looks with both readers; they must agree; returns what they saw. */
static struct memory look(const void *addr, size_t length)
{
	struct memory memory, other;

	assert_int_equal(memory_look_with(vma_each_text, addr, length, &memory),
			 0);
	if (have_ioctl()) {
		assert_int_equal(
			memory_look_with(vma_each_ioctl, addr, length, &other),
			0);
		assert_memory_equal(&memory, &other, sizeof(memory));
	}
	assert_int_equal(memory_look(addr, length, &other), 0);
	assert_memory_equal(&memory, &other, sizeof(memory));
	return memory;
}

static void check_kind(const void *addr, size_t length, enum memory_kind kind)
{
	struct memory memory = look(addr, length);
	char names[320];

	if (memory.kinds != MEMORY_BIT(kind))
		fail_msg("%s in place of %s",
			 memory_kinds_names(memory.kinds, names, sizeof(names)),
			 memory_kind_name(kind));
}

static void *map(int fd, size_t length, int flags)
{
	void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);

	assert_ptr_not_equal(addr, MAP_FAILED);
	return addr;
}

/* A file of so many pages; the name goes to ret_path unless that is NULL. */
static int make_file(const char *dir, unsigned int pages, char *ret_path)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/daxmr memory-XXXXXX", dir);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	if (ret_path)
		strcpy(ret_path, path);
	else
		unlink(path);
	return fd;
}

static void anonymous(void **state)
{
	int on_stack = 0;
	void *addr = map(-1, 8 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS);
	void *heap = malloc(100);

	(void)state;
	check_kind(addr, 8 * PAGE, MEMORY_ANONYMOUS);
	check_kind(&on_stack, sizeof(on_stack), MEMORY_ANONYMOUS);
	check_kind(heap, 100, MEMORY_ANONYMOUS);
	free(heap);
	munmap(addr, 8 * PAGE);
}

static void shared_anonymous(void **state)
{
	void *addr = map(-1, 8 * PAGE, MAP_SHARED | MAP_ANONYMOUS);

	(void)state;
	check_kind(addr, 8 * PAGE, MEMORY_ANONYMOUS);
	munmap(addr, 8 * PAGE);
}

static void memfd(void **state)
{
	int fd = memfd_create("a memfd", MFD_CLOEXEC);
	void *addr;

	(void)state;
	assert_true(fd >= 0 && ftruncate(fd, PAGE) == 0);
	addr = map(fd, PAGE, MAP_SHARED);
	close(fd);
	check_kind(addr, PAGE, MEMORY_MEMFD);
	munmap(addr, PAGE);
}

static void system_v(void **state)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0600);
	void *addr = shmat(id, NULL, 0);

	(void)state;
	shmctl(id, IPC_RMID, NULL);
	assert_ptr_not_equal(addr, (void *)-1);
	check_kind(addr, PAGE, MEMORY_TMPFS);
	shmdt(addr);
}

static void tmpfs(void **state)
{
	int fd = make_file("/dev/shm", 2, NULL);
	void *addr = map(fd, 2 * PAGE, MAP_SHARED);

	(void)state;
	check_kind(addr, 2 * PAGE, MEMORY_TMPFS); /* deleted, found by its fd */
	close(fd);
	munmap(addr, 2 * PAGE);
}

static void hugetlb(void **state)
{
	void *addr =
		mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE,
		     -1, 0);

	(void)state;
	if (addr == MAP_FAILED) {
		print_message("no huge pages here: %s\n", strerror(errno));
		skip();
	}
	check_kind(addr, 2 << 20, MEMORY_HUGETLB);
	munmap(addr, 2 << 20);
}

static void character_device(void **state)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	void *addr = map(fd, PAGE, MAP_PRIVATE);

	(void)state;
	close(fd);
	check_kind(addr, PAGE, MEMORY_DEVICE);
	munmap(addr, PAGE);
}

/* Everything about files is the same on fs-dax and on a page cache. */
static void test_files(const char *dir, enum memory_kind shared,
		       enum memory_kind private)
{
	char path[256], moved[264];
	int fd = make_file(dir, 4, path), other;
	char *addr = map(fd, 4 * PAGE, MAP_SHARED);
	struct memory memory;
	void *addr2;

	check_kind(addr, 4 * PAGE, shared);
	check_kind(addr + 3, 10, shared);
	memory = look(addr, 4 * PAGE);
	assert_string_equal(memory.file.name, path);
	assert_false(memory.read_only);
	assert_false(memory.beyond_eof);
	assert_int_equal(memory.file.size, 4 * PAGE);
	addr2 = map(fd, PAGE, MAP_PRIVATE);
	check_kind(addr2, PAGE, private);
	munmap(addr2, PAGE);

	/* the descriptor closed, the file renamed, its name taken by another */
	close(fd);
	snprintf(moved, sizeof(moved), "%s moved", path);
	assert_int_equal(rename(path, moved), 0);
	check_kind(addr, PAGE, shared);
	other = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	check_kind(addr, PAGE, shared);
	close(other);
	unlink(path);

	mprotect(addr, PAGE, PROT_READ);
	memory = look(addr, 4 * PAGE);
	assert_int_equal(memory.mappings, 2);
	assert_true(memory.read_only);
	memory = look(addr + PAGE, PAGE);
	assert_false(memory.read_only);

	assert_int_equal(truncate(moved, PAGE + 1), 0);
	assert_false(look(addr, 2 * PAGE).beyond_eof);
	assert_true(look(addr, 2 * PAGE + 1).beyond_eof);

	/* deleted, no descriptor: only a privileged process can still look */
	unlink(moved);
	memory = look(addr, PAGE);
	assert_true(memory.kinds == MEMORY_BIT(shared) ||
		    memory.kinds == MEMORY_BIT(MEMORY_UNKNOWN));
	assert_int_equal(memory.file.kind == shared,
			 memory.kinds == MEMORY_BIT(shared));
	munmap(addr, 4 * PAGE);
}

static void page_cache_files(void **state)
{
	/* the build folder, unless that is a tmpfs */
	char here[] = "daxmr-memory-XXXXXX";
	char elsewhere[] = "/var/tmp/daxmr-memory-XXXXXX";
	char *dir = here, *path;
	struct statfs fs;

	(void)state;
	assert_int_equal(statfs(".", &fs), 0);
	if (fs.f_type == TMPFS_MAGIC)
		dir = elsewhere;
	assert_non_null(mkdtemp(dir));
	path = realpath(dir, NULL);
	test_files(path, MEMORY_PAGECACHE, MEMORY_PAGECACHE_PRIVATE);
	free(path);
	assert_int_equal(rmdir(dir), 0);
}

static void fsdax_files(void **state)
{
	const char *dir = getenv("DAXMR_TEST_DAX_DIR");

	(void)state;
	if (!dir) {
		print_message("DAXMR_TEST_DAX_DIR is not set\n");
		skip();
	}
	test_files(dir, MEMORY_FSDAX, MEMORY_FSDAX_PRIVATE);
}

static void several_kinds_in_one_range(void **state)
{
	char *addr = map(-1, 8 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS);
	int fd = make_file("/dev/shm", 2, NULL);
	struct memory memory;

	(void)state;
	assert_ptr_equal(mmap(addr + 2 * PAGE, 2 * PAGE, PROT_READ,
			      MAP_SHARED | MAP_FIXED, fd, 0),
			 addr + 2 * PAGE);
	munmap(addr + 5 * PAGE, PAGE);
	memory = look(addr + 1, 4 * PAGE);
	assert_int_equal(memory.kinds, MEMORY_BIT(MEMORY_ANONYMOUS) |
					       MEMORY_BIT(MEMORY_TMPFS));
	assert_int_equal(memory.mappings, 3);
	memory = look(addr, 8 * PAGE);
	assert_int_equal(memory.kinds, MEMORY_BIT(MEMORY_ANONYMOUS) |
					       MEMORY_BIT(MEMORY_TMPFS) |
					       MEMORY_BIT(MEMORY_UNMAPPED));
	memory = look(addr + 6 * PAGE, 2 * PAGE);
	assert_int_equal(memory.kinds, MEMORY_BIT(MEMORY_ANONYMOUS));
	close(fd);
	munmap(addr, 8 * PAGE);
}

static void nothing_there(void **state)
{
	char *addr = map(-1, 4 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS);

	(void)state;
	munmap(addr + PAGE, 2 * PAGE);
	check_kind(addr + PAGE, 2 * PAGE, MEMORY_UNMAPPED);
	check_kind(addr + PAGE, 1, MEMORY_UNMAPPED);
	check_kind(addr, 0, MEMORY_UNMAPPED);
	check_kind((void *)8, SIZE_MAX, MEMORY_UNMAPPED); /* wraps */
	assert_true(look(addr, 2 * PAGE).kinds & MEMORY_BIT(MEMORY_UNMAPPED));
	munmap(addr, PAGE);
	munmap(addr + 3 * PAGE, PAGE);
}

/* ibv_reg_mr(pd, NULL, SIZE_MAX): all that this process has. */
static void whole_address_space(void **state)
{
	struct memory memory;

	(void)state;
	assert_int_equal(memory_look(NULL, SIZE_MAX, &memory), 0);
	assert_true(memory.kinds & MEMORY_BIT(MEMORY_ANONYMOUS));
	assert_true(memory.kinds & MEMORY_BIT(MEMORY_UNMAPPED));
	assert_true(memory.mappings > 10);
}

struct vmas {
	size_t n;
	struct vma vmas[4000];
	char names[4000][80];
};

static int collect(const struct vma *vma, void *arg)
{
	struct vmas *all = arg;

	assert_true(all->n < 4000);
	all->vmas[all->n] = *vma;
	snprintf(all->names[all->n++], sizeof(all->names[0]), "%s", vma->name);
	return 0;
}

static bool is_same(const struct vmas *a, const struct vmas *b)
{
	size_t i;

	for (i = 0; a->n == b->n && i < a->n; i++)
		if (a->vmas[i].start != b->vmas[i].start ||
		    a->vmas[i].end != b->vmas[i].end)
			return false;
	return a->n == b->n;
}

static void readers__agree_about_all_of_this_process(void **state)
{
	static struct vmas text, query, again;
	size_t i;

	(void)state;
	if (!have_ioctl()) {
		print_message("this kernel has no PROCMAP_QUERY\n");
		skip();
	}
	/*
	 * Until nothing has changed from before the text to behind it: looking
	 * allocates memory. 2^47: [vsyscall] lies above, only the text has it.
	 */
	for (i = 0; i < 10; i++) {
		text.n = query.n = again.n = 0;
		assert_int_equal(vma_each_ioctl(0, 1UL << 47, collect, &query),
				 0);
		assert_int_equal(vma_each_text(0, 1UL << 47, collect, &text),
				 0);
		assert_int_equal(vma_each_ioctl(0, 1UL << 47, collect, &again),
				 0);
		if (is_same(&query, &again))
			break;
	}
	assert_true(i < 10);
	assert_true(text.n > 10);
	assert_int_equal(text.n, query.n);
	for (i = 0; i < text.n; i++) {
		struct vma *a = &text.vmas[i], *b = &query.vmas[i];

		assert_true(a->start == b->start && a->end == b->end);
		assert_true(a->offset == b->offset && a->ino == b->ino);
		assert_true(a->dev_major == b->dev_major &&
			    a->dev_minor == b->dev_minor);
		assert_true(a->readable == b->readable &&
			    a->writable == b->writable &&
			    a->shared == b->shared);
		assert_string_equal(text.names[i], query.names[i]);
	}
}

/* The kept descriptor is ours only as long as it is what we opened. */
static void kept_descriptor__closed_or_taken_by_program(void **state)
{
	void *addr = map(-1, PAGE, MAP_PRIVATE | MAP_ANONYMOUS);
	int round, fd, data;
	struct stat before, after;

	(void)state;
	check_kind(addr, PAGE, MEMORY_ANONYMOUS);
	for (round = 0; round < 3; round++) {
		/* all that a daemon closes when it starts */
		syscall(SYS_close_range, 10, ~0U, 0);
		check_kind(addr, PAGE, MEMORY_ANONYMOUS);
		/* and puts files of its own there */
		data = make_file("/tmp", 1, NULL);
		for (fd = 900; fd < 1020; fd++)
			assert_int_equal(dup2(data, fd), fd);
		assert_int_equal(fstat(data, &before), 0);
		check_kind(addr, PAGE, MEMORY_ANONYMOUS);
		for (fd = 900; fd < 1020; fd++) {
			assert_int_equal(fstat(fd, &after), 0);
			assert_true(after.st_ino == before.st_ino);
			close(fd);
		}
		close(data);
	}
	munmap(addr, PAGE);
}

/* A child must see its own mappings, not its parent's through a kept fd. */
static void kept_descriptor__is_not_used_by_a_child(void **state)
{
	void *addr = map(-1, PAGE, MAP_PRIVATE | MAP_ANONYMOUS);
	struct memory memory;
	int status;
	pid_t pid;

	(void)state;
	check_kind(addr, PAGE, MEMORY_ANONYMOUS);
	pid = fork();
	if (pid == 0) {
		munmap(addr, PAGE);
		if (memory_look(addr, PAGE, &memory) < 0)
			_exit(1);
		_exit(memory.kinds == MEMORY_BIT(MEMORY_UNMAPPED) ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(addr, PAGE);
}

static void *look_often(void *addr)
{
	struct memory memory;
	int i;

	for (i = 0; i < 300; i++)
		if (memory_look(addr, PAGE, &memory) < 0 ||
		    memory.kinds != MEMORY_BIT(MEMORY_ANONYMOUS))
			return addr;
	return NULL;
}

static void threads__look_at_once(void **state)
{
	void *addr = map(-1, PAGE, MAP_PRIVATE | MAP_ANONYMOUS), *failed;
	pthread_t threads[4];
	int i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, look_often, addr), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	munmap(addr, PAGE);
}

/* In a child: its first thread ends, and with it what /proc/self shows. */
static void *look_alone(void *addr)
{
	struct memory memory;
	char byte;
	int i, fd;

	for (i = 0; i < 1000; i++) {
		fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, &byte, 1) <= 0)
			break;
		close(fd);
		usleep(10000);
	}
	if (i == 1000)
		_exit(2);
	if (memory_look_with(vma_each_text, addr, PAGE, &memory) ||
	    memory.kinds != MEMORY_BIT(MEMORY_PAGECACHE))
		_exit(3);
	_exit(memory_look(addr, PAGE, &memory) ||
	      memory.kinds != MEMORY_BIT(MEMORY_PAGECACHE));
}

/* A file that only a descriptor leads to. */
static void first_thread__has_ended(void **state)
{
	struct statfs fs;
	pthread_t thread;
	int fd, status;
	void *addr;
	pid_t pid;

	(void)state;
	fd = make_file(".", 1, NULL);
	assert_int_equal(fstatfs(fd, &fs), 0);
	if (fs.f_type == TMPFS_MAGIC) {
		print_message("this folder is on a tmpfs\n");
		skip();
	}
	addr = map(fd, PAGE, MAP_SHARED);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (pthread_create(&thread, NULL, look_alone, addr))
			_exit(4);
		pthread_exit(NULL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(addr, PAGE);
	close(fd);
}

static void *look_once(void *addr)
{
	struct memory memory;

	return memory_look(addr, PAGE, &memory) ? addr : NULL;
}

/* What was opened first, and kept, was opened by a thread that is gone. */
static void kept_descriptor__outlives_its_thread(void **state)
{
	void *addr = map(-1, PAGE, MAP_PRIVATE | MAP_ANONYMOUS), *failed;
	pthread_t thread;

	(void)state;
	syscall(SYS_close_range, 10, ~0U, 0);
	assert_int_equal(pthread_create(&thread, NULL, look_once, addr), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	check_kind(addr, PAGE, MEMORY_ANONYMOUS);
	munmap(addr, PAGE);
}

static void newline_in_a_name(void **state)
{
	char dir[] = "/dev/shm/daxmr\n\\012-XXXXXX", path[64];
	struct memory memory;
	void *addr;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && ftruncate(fd, PAGE) == 0);
	addr = map(fd, PAGE, MAP_SHARED);
	/* each writes the name in its own way */
	assert_int_equal(memory_look_with(vma_each_text, addr, PAGE, &memory),
			 0);
	assert_int_equal(memory.kinds, MEMORY_BIT(MEMORY_TMPFS));
	assert_int_equal(memory_look(addr, PAGE, &memory), 0);
	assert_int_equal(memory.kinds, MEMORY_BIT(MEMORY_TMPFS));
	munmap(addr, PAGE);
	close(fd);
	unlink(path);
	rmdir(dir);
}

/* A name goes into one line of a log, whatever is in it. */
static void control_characters_in_a_name(void **state)
{
	char path[] = "/var/tmp/daxmr\n\033[31m-XXXXXX";
	struct memory memory;
	struct statfs fs;
	char *addr;
	int fd;

	(void)state;
	assert_int_equal(statfs("/var/tmp", &fs), 0);
	if (fs.f_type == TMPFS_MAGIC) {
		print_message("/var/tmp is a tmpfs\n");
		skip();
	}
	fd = mkstemp(path);
	assert_true(fd >= 0 && ftruncate(fd, PAGE) == 0);
	addr = map(fd, PAGE, MAP_SHARED);
	memory = look(addr, PAGE);
	assert_non_null(strstr(memory.file.name, "daxmr\\012\\033[31m-"));
	munmap(addr, PAGE);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous),
		cmocka_unit_test(shared_anonymous),
		cmocka_unit_test(memfd),
		cmocka_unit_test(system_v),
		cmocka_unit_test(tmpfs),
		cmocka_unit_test(hugetlb),
		cmocka_unit_test(character_device),
		cmocka_unit_test(page_cache_files),
		cmocka_unit_test(fsdax_files),
		cmocka_unit_test(several_kinds_in_one_range),
		cmocka_unit_test(nothing_there),
		cmocka_unit_test(whole_address_space),
		cmocka_unit_test(readers__agree_about_all_of_this_process),
		cmocka_unit_test(kept_descriptor__closed_or_taken_by_program),
		cmocka_unit_test(kept_descriptor__is_not_used_by_a_child),
		cmocka_unit_test(kept_descriptor__outlives_its_thread),
		cmocka_unit_test(threads__look_at_once),
		cmocka_unit_test(first_thread__has_ended),
		cmocka_unit_test(newline_in_a_name),
		cmocka_unit_test(control_characters_in_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
