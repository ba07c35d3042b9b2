/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_facts FOLDER
 *
 * What daxmr stands on where it takes file leases, one test for each fact, so
 * that a kernel that behaves otherwise is noticed.  The sources are fs/locks.c
 * of the kernel and fcntl(2); xfstests' generic/571 has some of the same cases.
 * FOLDER is on xfs or ext4, and of root, who has to run this.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "lease_facts.h"

/* linux/fs.h has it, which sys/mount.h cannot be together with. */
#define THAW _IOWR('X', 120, int)

static struct facts facts;
/* Descriptors from here on are of the test that runs. */
static int first_fd;

static struct sysctl {
	const char *name;
	int value;
	bool changed;
} sysctls[] = {{"lease-break-time", 0, false}, {"leases-enable", 0, false}};

#define SYSCTLS (sizeof(sysctls) / sizeof(sysctls[0]))

void make_path(char *path, size_t size, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(path, size, format, arguments);
	va_end(arguments);
	assert_in_range(length, 1, size - 1);
}

bool kernel_is(int major, int minor)
{
	struct utsname name;
	char *end;
	long has;

	assert_int_equal(uname(&name), 0);
	has = strtol(name.release, &end, 10);
	assert_int_equal(*end, '.');
	return has > major ||
	       (has == major && strtol(end + 1, NULL, 10) >= minor);
}

bool on_xfs(const struct facts *f)
{
	struct statfs fs;

	assert_int_equal(statfs(f->folder, &fs), 0);
	return fs.f_type == XFS_SUPER_MAGIC;
}

static int sysctl_open(const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/sys/fs/%s", name);
	return open_or_fail(path, flags);
}

static void sysctl_write(const char *name, int value)
{
	int fd = sysctl_open(name, O_WRONLY);

	assert_true(dprintf(fd, "%d\n", value) > 0);
	close(fd);
}

static int sysctl_read(const char *name)
{
	int fd = sysctl_open(name, O_RDONLY);
	char text[16];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	assert_true(n > 0);
	text[n] = '\0';
	close(fd);
	return (int)strtol(text, NULL, 10);
}

void sysctl_set(const char *name, int value)
{
	struct sysctl *known;

	for (known = sysctls; known < sysctls + SYSCTLS; known++) {
		if (strcmp(known->name, name) != 0)
			continue;
		if (!known->changed)
			known->value = sysctl_read(name);
		known->changed = true;
		sysctl_write(name, value);
		return;
	}
	fail_msg("%s is none that is restored", name);
}

void wait_until(bool (*holds)(const void *arg), const void *arg,
		const char *what)
{
	struct timespec now;
	int64_t end = 0;

	for (;;) {
		int64_t ms;

		if (holds(arg))
			return;
		clock_gettime(CLOCK_MONOTONIC, &now);
		ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
		if (!end)
			end = ms + WAIT_MS;
		if (ms > end)
			fail_msg("waited %d s until %s", WAIT_MS / 1000, what);
		usleep(500);
	}
}

char process_state(pid_t pid)
{
	char path[32], text[256], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '-';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return '-';
	text[n] = '\0';
	end = strrchr(text, ')');
	return end && end + 2 < text + n ? end[2] : '-';
}

int lease_set(int fd, int type)
{
	return fcntl(fd, F_SETLEASE, type) < 0 ? -errno : 0;
}

int lease_get(int fd)
{
	int type = fcntl(fd, F_GETLEASE);

	return type < 0 ? -errno : type;
}

const char *lease_line(int fd)
{
	static char found[64];
	char line[256], kind[16], how[16], type[16];
	FILE *in;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", fd);
	in = fopen(line, "re");
	assert_non_null(in);
	snprintf(found, sizeof(found), "none");
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "lock: %*s %15s %15s %15s", kind, how, type) !=
		    3)
			continue;
		if (!strcmp(kind, "LEASE"))
			snprintf(found, sizeof(found), "%s %s", how, type);
		else if (!strcmp(kind, "DELEG"))
			snprintf(found, sizeof(found), "DELEG %s %s", how,
				 type);
	}
	fclose(in);
	return found;
}

int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0666);

	if (fd < 0)
		fail_msg("open of %s with 0x%x: %s", path, flags,
			 strerror(errno));
	return fd;
}

void holder_open(struct facts *f, int flags)
{
	f->fd = open_or_fail(f->file, flags);
}

void holder_take(int fd)
{
	struct f_owner_ex owner = {F_OWNER_TID, gettid()};

	assert_int_equal(fcntl(fd, F_SETSIG, LEASE_SIGNAL), 0);
	assert_int_equal(fcntl(fd, F_SETOWN_EX, &owner), 0);
	assert_int_equal(lease_set(fd, F_WRLCK), 0);
}

void holder_lease(struct facts *f)
{
	holder_open(f, O_RDWR);
	holder_take(f->fd);
}

unsigned char *holder_map(struct facts *f)
{
	f->map = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      f->fd, 0);
	assert_ptr_not_equal(f->map, MAP_FAILED);
	return f->map;
}

siginfo_t break_expected(int fd)
{
	const struct timespec limit = {WAIT_MS / 1000, 0};
	siginfo_t info = {0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	assert_int_equal(sigtimedwait(&set, &info, &limit), LEASE_SIGNAL);
	assert_int_equal(info.si_fd, fd);
	return info;
}

bool signal_pending(int signo)
{
	sigset_t set;

	assert_int_equal(sigpending(&set), 0);
	return sigismember(&set, signo);
}

void no_break_expected(int fd)
{
	/* The kernel sends it before the breaker's call goes on. */
	assert_false(signal_pending(LEASE_SIGNAL));
	assert_false(signal_pending(SIGIO));
	assert_int_equal(lease_get(fd), F_WRLCK);
	assert_string_equal(lease_line(fd), "ACTIVE WRITE");
}

static void make_file(const char *path)
{
	unsigned char block[4096];
	size_t done;
	int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_EXCL);

	memset(block, FILLED, sizeof(block));
	for (done = 0; done < FILE_SIZE; done += sizeof(block))
		assert_int_equal(write(fd, block, sizeof(block)),
				 sizeof(block));
	assert_int_equal(fchmod(fd, 0666), 0);
	close(fd);
}

int facts_setup(void **state)
{
	struct facts *f = &facts;
	int fd;

	*state = f;
	f->fd = -1;
	f->map = NULL;
	make_path(f->file, sizeof(f->file), "%s/file", f->folder);
	/* A test that hangs ends everything; the outsiders die with us. */
	alarm(4 * WAIT_MS / 1000);
	make_file(f->file);
	outsider_start(&f->one);
	outsider_start(&f->two);
	fd = open_or_fail("/dev/null", O_RDONLY);
	first_fd = fd;
	close(fd);
	return 0;
}

/* Whatever the test left: it may have ended anywhere. */
int facts_teardown(void **state)
{
	const struct timespec now = {0, 0};
	struct facts *f = *state;
	sigset_t set;
	size_t i;
	int fd;

	fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		ioctl(fd, THAW, 0);
		close(fd);
	}
	for (i = 0; i < SYSCTLS; i++)
		if (sysctls[i].changed)
			sysctl_write(sysctls[i].name, sysctls[i].value);
	outsider_kill(&f->one);
	outsider_kill(&f->two);
	close_range((unsigned int)first_fd, ~0U, 0);
	if (f->map)
		munmap(f->map, FILE_SIZE);
	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	sigaddset(&set, SIGIO);
	while (sigtimedwait(&set, NULL, &now) > 0)
		;
	unlink(f->file);
	alarm(0);
	return 0;
}

int main(int argc, char **argv)
{
	struct stat st;
	int failed = 0;
	sigset_t set;

	if (argc != 2 || strlen(argv[1]) >= sizeof(facts.folder) ||
	    stat(argv[1], &st) < 0 || !S_ISDIR(st.st_mode) || geteuid() != 0) {
		fprintf(stderr, "usage: lease_facts FOLDER     (as root)\n");
		return 2;
	}
	snprintf(facts.folder, sizeof(facts.folder), "%s", argv[1]);
	/* Nobody installs a handler: a break is waited for. */
	sigemptyset(&set);
	sigaddset(&set, LEASE_SIGNAL);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	failed += grant_tests();
	failed += break_tests();
	failed += answer_tests();
	failed += delegation_tests();
	failed += signal_tests();
	failed += owner_tests();
	failed += file_tests();
	return failed ? 1 : 0;
}
