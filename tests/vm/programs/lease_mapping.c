/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_mapping CASE FOLDER KEEPER
 *
 * Leases through mappings whose descriptor is closed, where root has to bring
 * it about: mounts over, under and instead of the path, a keeper that dies
 * while only a mapping keeps the leased description alive.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "reason.h"

#define SIZE (64UL << 10)

static const char *folder;
static struct lease_engine *engine;
static struct lease_config config;
static atomic_int lost;

#define check(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "line %d: %s (%s; %s)\n", __LINE__,    \
				#condition, strerror(errno), reason_text());   \
			exit(1);                                               \
		}                                                              \
	} while (0)

static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)lease;
	(void)missed;
	atomic_fetch_add(&lost, report->to == RECALL_LOST);
}

static char *path_of(const char *name)
{
	char *path;

	check(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

/* A file below FOLDER that is mapped and closed. */
static char *map_file(const char *name)
{
	char *path = path_of(name), *addr;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	check(fd >= 0 && !ftruncate(fd, SIZE));
	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(addr != MAP_FAILED);
	close(fd);
	free(path);
	return addr;
}

static int acquire(const char *addr, struct lease **ret)
{
	struct lease_want want = {
		.fd = -1,
		.addr = (uintptr_t)addr,
		.type = LEASE_TYPE_AUTO,
		.length = SIZE,
	};

	return lease_acquire(engine, &want, ret);
}

static void check_refused(const char *addr, int error, const char *text)
{
	struct lease *none = NULL;

	check(acquire(addr, &none) == error && !none);
	check(strstr(reason_text(), text));
}

static void wait_until_held(const struct lease *lease)
{
	for (int i = 0; lease_state(lease) != RECALL_HELD; i++) {
		check(i < 30000);
		usleep(1000);
	}
}

/* By another process and another path; it finds what was stored. */
static void check_seen(struct lease *lease, const char *name, char *addr,
		       const char *text)
{
	char *path = path_of(name), found[64] = "";
	int status, fd;
	pid_t pid;

	strcpy(addr, text);
	wait_until_held(lease);
	pid = fork();
	if (!pid) {
		alarm(10);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		_exit(fd < 0 || read(fd, found, sizeof(found)) < 1 ||
		      strcmp(found, text) != 0);
	}
	check(waitpid(pid, &status, 0) == pid && !status);
	wait_until_held(lease);
	free(path);
}

static char *make_folder(const char *name)
{
	char *path = path_of(name);

	check(!mkdir(path, 0700));
	return path;
}

/* The path of the mapping is one of two; then of none. */
static void bind_mount(void)
{
	char *real = make_folder("real"), *bound = make_folder("bound"), *addr;
	struct lease *lease;

	check(!mount(real, bound, NULL, MS_BIND, NULL));
	addr = map_file("bound/file");
	check(!acquire(addr, &lease));
	check_seen(lease, "real/file", addr, "through the other mount");
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
	check(!umount2(bound, MNT_DETACH));
	munmap(addr, SIZE);

	check(!mount(real, bound, NULL, MS_BIND, NULL));
	addr = map_file("bound/file");
	check(!umount2(bound, MNT_DETACH));
	check(!acquire(addr, &lease));
	check_seen(lease, "real/file", addr, "mapped by a mount that is gone");
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
	munmap(addr, SIZE);
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3,
						  0};
	struct __user_cap_data_struct data[2];
	const unsigned int caps[] = {CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE};

	check(!syscall(SYS_capget, &header, data));
	for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		data[CAP_TO_INDEX(caps[i])].effective &= ~CAP_TO_MASK(caps[i]);
	check(!syscall(SYS_capset, &header, data));
}

/* Another file has the path: that one is not opened for it. */
static void covered(void)
{
	char *dir = make_folder("covered"), *addr = map_file("covered/file");
	char *other = path_of("covered/file");
	struct lease *lease;
	int status, fd;
	pid_t pid;

	check(!mount("tmpfs", dir, "tmpfs", 0, "size=1m"));
	fd = open(other, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	check(fd >= 0);
	close(fd);
	pid = fork();
	if (!pid) {
		drop_capabilities();
		check(!lease_engine_start(&config, &engine));
		check_refused(addr, -ENOENT, "not what has this path now");
		_exit(0);
	}
	check(waitpid(pid, &status, 0) == pid && !status);
	/* the child had it mapped, too */
	check(!acquire(addr, &lease));
	check(!umount(dir));
	check_seen(lease, "covered/file", addr, "below");
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
	munmap(addr, SIZE);
}

static void other_file_systems(void)
{
	static const char *const names[] = {"lower", "upper", "work", "merged"};
	char options[512], *paths[4], *addr;

	for (int i = 0; i < 4; i++)
		paths[i] = make_folder(names[i]);
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s",
		 paths[0], paths[1], paths[2]);
	check(!mount("overlay", paths[3], "overlay", 0, options));
	addr = map_file("merged/file");
	check_refused(addr, -EOPNOTSUPP, "overlayfs");
	munmap(addr, SIZE);
	check(!umount(paths[3]));
	check(!mount("ramfs", paths[3], "ramfs", 0, NULL));
	addr = map_file("merged/file");
	check_refused(addr, -EOPNOTSUPP, "guards nothing");
	munmap(addr, SIZE);
	check(!umount(paths[3]));
}

static pid_t keeper_of(const char *name)
{
	char line[256], wanted[64], *path = path_of(name);
	FILE *locks = fopen("/proc/locks", "re");
	struct stat st;
	pid_t pid = 0;

	check(locks && !stat(path, &st));
	snprintf(wanted, sizeof(wanted), " %02x:%02x:%lu ", major(st.st_dev),
		 minor(st.st_dev), (unsigned long)st.st_ino);
	while (fgets(line, sizeof(line), locks))
		if (strstr(line, "LEASE") && strstr(line, wanted))
			sscanf(line, "%*d: %*s %*s %*s %d", &pid);
	fclose(locks);
	free(path);
	check(pid > 0);
	return pid;
}

static void set_break_time(const char *text)
{
	int fd = open("/proc/sys/fs/lease-break-time", O_WRONLY | O_CLOEXEC);

	check(fd >= 0 && write(fd, text, strlen(text)) > 0);
	close(fd);
}

/* So many that the engine keeps no descriptor of what comes after them. */
#define FILLERS 30
#define LIMIT	40

static void fill(struct lease **leases)
{
	struct rlimit limit = {.rlim_cur = LIMIT, .rlim_max = 4096};
	char name[32], *addr;

	check(!setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < FILLERS; i++) {
		snprintf(name, sizeof(name), "filler-%d", i);
		addr = map_file(name);
		check(!acquire(addr, &leases[i]));
		munmap(addr, SIZE);
	}
}

/*
 * The lease is left on the mapping's description, of which nobody hears, until
 * the kernel takes it. The file has another name by then, as the mapping shows.
 */
static void orphan(void)
{
	struct lease *lease, *fillers[FILLERS];
	char *addr, *path = path_of("orphan"), *renamed = path_of("renamed");

	fill(fillers);
	addr = map_file("orphan");
	check(!acquire(addr, &lease));
	check_seen(lease, "orphan", addr, "before");
	set_break_time("1");
	check(!rename(path, renamed));
	check(!kill(keeper_of("renamed"), SIGKILL));
	for (int i = 0; !atomic_load(&lost); i++) {
		check(i < 30000);
		usleep(1000);
	}
	wait_until_held(lease);
	check(!strcmp(addr, "before"));
	check_seen(lease, "renamed", addr, "after");
	set_break_time("45");
	check(!lease_release(lease, 0, SIZE, INT64_MAX));
	munmap(addr, SIZE);
	free(path);
	free(renamed);
	for (int i = 0; i < FILLERS; i++)
		check(!lease_release(fillers[i], 0, SIZE, INT64_MAX));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"bind-mount", bind_mount},
		{"covered", covered},
		{"other-file-systems", other_file_systems},
		{"orphan", orphan},
	};
	bool found = false;

	check(argc == 4);
	folder = argv[2];
	config.keeper_path = argv[3];
	config.observer.changed = changed;
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
