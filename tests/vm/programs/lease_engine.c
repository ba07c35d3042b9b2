/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_engine CASE FOLDER KEEPER
 *
 * What the engine of lease/ does where root has to bring it about: a file with
 * reflinked extents, a full file system, a frozen one, a lease that the kernel
 * takes away, a file on overlayfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "reason.h"

#define SIZE (1UL << 20)

static const char *folder;
static struct lease_engine *engine;
static atomic_int entered[RECALL_STATES];

#define check(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "line %d: %s (%s; %s)\n", __LINE__,    \
				#condition, strerror(errno), reason_text());   \
			exit(1);                                               \
		}                                                              \
	} while (0)

static double now_sec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)lease;
	(void)missed;
	if (report->from != report->to)
		atomic_fetch_add(&entered[report->to], 1);
}

static void wait_for(enum recall_state state, int times)
{
	double deadline = now_sec() + 30;

	while (atomic_load(&entered[state]) < times) {
		check(now_sec() < deadline);
		usleep(1000);
	}
}

static char *path_of(const char *name)
{
	char *path;

	check(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

static int make(const char *name, size_t size)
{
	char *path = path_of(name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	check(fd >= 0 && !ftruncate(fd, (off_t)size));
	free(path);
	return fd;
}

/* Seconds that another process waited in open(). */
static double outsider(const char *name, int flags)
{
	char *path = path_of(name);
	double start = now_sec();
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(open(path, flags | O_CLOEXEC) < 0);
	check(waitpid(pid, &status, 0) == pid && !status);
	free(path);
	return now_sec() - start;
}

static int acquire(int fd, struct lease **ret)
{
	struct lease_want want = {.fd = fd, .type = F_WRLCK, .length = SIZE};

	return lease_acquire(engine, &want, ret);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	check(fd >= 0 && write(fd, text, strlen(text)) > 0);
	close(fd);
}

static bool has_shared_extents(int fd)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) +
			  512 * sizeof(struct fiemap_extent)];
	} question = {{0}};
	bool shared = false;

	question.map.fm_length = FIEMAP_MAX_OFFSET;
	question.map.fm_flags = FIEMAP_FLAG_SYNC;
	question.map.fm_extent_count = 512;
	check(!ioctl(fd, FS_IOC_FIEMAP, &question.map));
	check(question.map.fm_mapped_extents > 0);
	for (unsigned int i = 0; i < question.map.fm_mapped_extents; i++)
		shared |= !!(question.map.fm_extents[i].fe_flags &
			     FIEMAP_EXTENT_SHARED);
	return shared;
}

/* Blocks that another file has too are copied, the data stays. */
static void reflinked(void)
{
	unsigned char *data = malloc(SIZE), *after = malloc(SIZE);
	int fd = make("original", SIZE), copy = make("copy", 0);
	struct lease *lease;

	check(data && after);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (unsigned char)(i * 7 + i / 4096);
	check(write(fd, data, SIZE) == (ssize_t)SIZE && !fsync(fd));
	check(!ioctl(copy, FICLONE, fd));
	check(has_shared_extents(fd));
	check(!acquire(fd, &lease));
	check(!has_shared_extents(fd));
	check(pread(fd, after, SIZE, 0) == (ssize_t)SIZE);
	check(!memcmp(data, after, SIZE));
	check(pread(copy, after, SIZE, 0) == (ssize_t)SIZE);
	check(!memcmp(data, after, SIZE));
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
}

/* As much as there is, in smaller and smaller pieces. */
static void fill(void)
{
	int fd = make("filler", 0);
	off_t at = 0;

	for (off_t piece = 1 << 28; piece >= 4096;) {
		if (!fallocate(fd, 0, at, piece))
			at += piece;
		else
			piece /= 2;
	}
	close(fd);
}

/* Blocks before the lease is granted, or none; then every store has room. */
static void full(void)
{
	int fd = make("early", SIZE), late = make("late", SIZE);
	struct lease *lease, *none = NULL;
	struct stat st;
	char *addr;

	check(!acquire(fd, &lease));
	fill();
	check(acquire(late, &none) == -ENOSPC);
	check(!none && fcntl(late, F_GETLEASE) == F_UNLCK);
	check(!fstat(late, &st) && st.st_size == SIZE);
	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(addr != MAP_FAILED);
	memset(addr, 5, SIZE); /* SIGBUS without blocks */
	munmap(addr, SIZE);
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
}

static pid_t keeper_of(int fd)
{
	char line[256], wanted[64];
	struct stat st;
	pid_t pid = 0;
	FILE *locks = fopen("/proc/locks", "re");

	check(locks && !fstat(fd, &st));
	snprintf(wanted, sizeof(wanted), " %02x:%02x:%lu ", major(st.st_dev),
		 minor(st.st_dev), (unsigned long)st.st_ino);
	while (fgets(line, sizeof(line), locks))
		if (strstr(line, "LEASE") && strstr(line, wanted))
			sscanf(line, "%*d: %*s %*s %*s %d", &pid);
	fclose(locks);
	check(pid > 0);
	return pid;
}

/*
 * A keeper that does not answer: the kernel lets the opener in, and that is
 * found out, though for a reader it leaves a read lease behind.
 */
static void revoked_by(int fd, int flags)
{
	struct lease *lease;
	double waited;
	pid_t keeper;

	memset(entered, 0, sizeof(entered));
	check(!acquire(fd, &lease));
	keeper = keeper_of(fd);
	check(!kill(keeper, SIGSTOP));
	waited = outsider("revoked", flags);
	check(waited > 0.5 && waited < 20);
	check(!kill(keeper, SIGCONT));
	wait_for(RECALL_LOST, 1);
	wait_for(RECALL_HELD, 2);
	check(fcntl(fd, F_GETLEASE) == F_WRLCK);
	check(!atomic_load(&entered[RECALL_YIELDED]));
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
}

static void revoked(void)
{
	int fd = make("revoked", SIZE);

	write_text("/proc/sys/fs/lease-break-time", "1");
	revoked_by(fd, O_RDWR);
	revoked_by(fd, O_RDONLY);
	write_text("/proc/sys/fs/lease-break-time", "45");
}

/* With nothing to flush nobody waits for the thaw. */
static void frozen(void)
{
	int fd = make("frozen", SIZE), dir;
	struct lease *lease;
	double waited;

	check(!acquire(fd, &lease));
	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check(dir >= 0 && !ioctl(dir, FIFREEZE, 0));
	waited = outsider("frozen", O_RDONLY);
	wait_for(RECALL_HELD, 2);
	check(!ioctl(dir, FITHAW, 0));
	check(waited < 10);
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
}

/* Granted by the kernel there, and guarding nothing. */
static void overlay(void)
{
	static const char *const names[] = {"lower", "upper", "work", "merged"};
	char options[512], *paths[4];
	struct lease *lease = NULL;
	int fd;

	for (int i = 0; i < 4; i++) {
		paths[i] = path_of(names[i]);
		check(!mkdir(paths[i], 0700));
	}
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s",
		 paths[0], paths[1], paths[2]);
	check(!mount("overlay", paths[3], "overlay", 0, options));
	fd = make("merged/file", SIZE);
	check(acquire(fd, &lease) == -EOPNOTSUPP);
	check(strstr(reason_text(), "overlayfs") && !lease);
	close(fd);
	check(!umount(paths[3]));
	for (int i = 0; i < 4; i++)
		free(paths[i]);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"reflinked", reflinked}, {"full", full},
		{"revoked", revoked},	  {"frozen", frozen},
		{"overlay", overlay},
	};
	struct lease_config config = {.observer = {.changed = changed}};
	bool found = false;

	check(argc == 4);
	folder = argv[2];
	config.keeper_path = argv[3];
	check(!lease_engine_start(&config, &engine));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		cases[i].run();
		found = true;
	}
	lease_engine_stop(engine);
	check(found);
	return 0;
}
