/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_storm KEEPER FOLDER SECONDS
 *
 * 100 openers in a loop against one leased file: half O_NONBLOCK (they try
 * again), half of each kind reading, the others writing and truncating; every
 * fifth may be killed, rather while it waits, and another takes its place.
 * Fails where one never gets in, where one waits for more than 2 s (the keeper
 * has nothing to flush here: the design's own bound is then a few times its
 * being scheduled, and for O_NONBLOCK the pause of 10 ms at least after each
 * break), where the keeper takes more than 10 % of a processor (of half a
 * minute or more), where the kernel took the lease away, where it is not HELD
 * again within 2 s of the last close.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "reason.h"

#define OPENERS	  100
#define SIZE	  65536
#define BOUND_SEC 2.0
#define SHARE	  0.10
#define STOP_SEC  30.0
#define LONG_SEC  30.0 /* so long that some die while they wait */

/* All processes' memory. */
static struct shared {
	atomic_bool go;
	atomic_bool stop;
	_Atomic double last_close;
	struct slot {
		atomic_ulong opens;
		atomic_bool is_waiting;
		_Atomic double longest;
		pid_t pid; /* the spawner's */
	} slots[OPENERS];
	unsigned long kills;
	unsigned long kills_waiting;
} * shared;

static char path[4096];
static atomic_ulong breaks;
static atomic_ulong losses;
static int failures;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static _Noreturn void give_up(const char *what)
{
	perror(what);
	fprintf(stderr, "%s\n", reason_text());
	unlink(path);
	exit(2);
}

static void demand(bool holds, const char *what)
{
	if (holds)
		return;
	printf("NOT SO: %s\n", what);
	failures++;
}

static int open_at_last(int flags)
{
	int fd;

	while ((fd = open(path, flags | O_CLOEXEC)) < 0) {
		if (errno != EWOULDBLOCK)
			_exit(1);
		usleep(5000);
	}
	return fd;
}

static void use(int fd, bool is_writer, unsigned int *seed)
{
	char bytes[4096] = "x";

	if (!is_writer) {
		if (read(fd, bytes, sizeof(bytes)) < 0)
			_exit(1);
		return;
	}
	if (pwrite(fd, bytes, sizeof(bytes), rand_r(seed) % SIZE) < 0 ||
	    ftruncate(fd, rand_r(seed) % SIZE) || ftruncate(fd, SIZE))
		_exit(1);
}

static _Noreturn void opener(unsigned int i)
{
	struct slot *slot = &shared->slots[i];
	unsigned int seed = (unsigned int)getpid();
	bool is_writer = i / 2 % 2;
	int flags = (i % 2 ? O_NONBLOCK : 0) | (is_writer ? O_RDWR : O_RDONLY);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!atomic_load(&shared->stop)) {
		double start = now(), waited;
		int fd;

		atomic_store(&slot->is_waiting, true);
		fd = open_at_last(flags);
		atomic_store(&slot->is_waiting, false);
		waited = now() - start;
		if (waited > atomic_load(&slot->longest))
			atomic_store(&slot->longest, waited);
		atomic_fetch_add(&slot->opens, 1);
		use(fd, is_writer, &seed);
		close(fd);
		usleep((useconds_t)rand_r(&seed) % 200000);
	}
	_exit(0);
}

static void start_opener(unsigned int i)
{
	pid_t pid = fork();

	if (pid < 0)
		_exit(1);
	if (!pid)
		opener(i);
	shared->slots[i].pid = pid;
}

/* Every fifth; one that waits, if there is one in the next 20 ms. */
static void kill_one(unsigned int *seed)
{
	unsigned int i = rand_r(seed) % (OPENERS / 5) * 5 + 4;
	double until = now() + 0.02;
	struct slot *slot;

	for (unsigned int j = 4; now() < until; j = (j + 5) % OPENERS)
		if (atomic_load(&shared->slots[j].is_waiting)) {
			i = j;
			break;
		}
	slot = &shared->slots[i];
	kill(slot->pid, SIGKILL);
	waitpid(slot->pid, NULL, 0);
	shared->kills++;
	shared->kills_waiting += atomic_exchange(&slot->is_waiting, false);
	start_opener(i);
}

/* In a process of its own, that never had the file. */
static _Noreturn void spawner(double seconds)
{
	unsigned int seed = 1;
	double end;
	int bad = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!atomic_load(&shared->go))
		usleep(1000);
	for (unsigned int i = 0; i < OPENERS; i++)
		start_opener(i);
	for (end = now() + seconds; now() < end; usleep(50000))
		kill_one(&seed);
	atomic_store(&shared->stop, true);
	end = now() + STOP_SEC;
	for (unsigned int i = 0; i < OPENERS; i++) {
		int status = 1;
		pid_t pid;

		while (!(pid = waitpid(shared->slots[i].pid, &status,
				       WNOHANG)) &&
		       now() < end)
			usleep(1000);
		bad += pid <= 0 || status;
	}
	atomic_store(&shared->last_close, now());
	_exit(bad != 0);
}

static void changed(void *arg, struct lease *lease,
		    const struct recall_report *report, uint64_t missed)
{
	(void)arg;
	(void)lease;
	(void)missed;
	if (report->from == report->to)
		return;
	if (report->to == RECALL_BREAKING)
		atomic_fetch_add(&breaks, 1);
	if (report->to == RECALL_LOST)
		atomic_fetch_add(&losses, 1);
}

static pid_t find_keeper(int fd)
{
	FILE *locks = fopen("/proc/locks", "re");
	unsigned long inode;
	struct stat st;
	char line[256];
	pid_t pid = 0, holder;

	if (!locks || fstat(fd, &st))
		give_up("/proc/locks");
	while (fgets(line, sizeof(line), locks))
		if (strstr(line, "LEASE") &&
		    sscanf(line, "%*s %*s %*s %*s %d %*x:%*x:%lu", &holder,
			   &inode) == 2 &&
		    inode == st.st_ino)
			pid = holder;
	fclose(locks);
	return pid;
}

/* Seconds of the processor that a process has had. */
static double cpu_of(pid_t pid)
{
	unsigned long user = 0, kernel = 0;
	char name[64], text[512] = "";
	const char *fields;
	FILE *stat;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	stat = fopen(name, "re");
	if (!stat || !fgets(text, sizeof(text), stat))
		give_up(name);
	fclose(stat);
	fields = strrchr(text, ')');
	if (!fields ||
	    sscanf(fields,
		   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &kernel) != 2)
		give_up(name);
	return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static double wait_until_held(const struct lease *lease)
{
	double end = now() + STOP_SEC;

	while (lease_state(lease) != RECALL_HELD && now() < end)
		usleep(1000);
	return now();
}

static void tell_openers(double seconds)
{
	unsigned long opens[2] = {0}, fewest = ~0UL;
	double longest[2] = {0};

	for (unsigned int i = 0; i < OPENERS; i++) {
		struct slot *slot = &shared->slots[i];
		unsigned long n = atomic_load(&slot->opens);
		double waited = atomic_load(&slot->longest);

		opens[i % 2] += n;
		fewest = n < fewest ? n : fewest;
		if (waited > longest[i % 2])
			longest[i % 2] = waited;
	}
	printf("%lu opens that wait, the longest %.3f s; %lu with O_NONBLOCK, "
	       "the longest %.3f s; fewest of one opener: %lu\n",
	       opens[0], longest[0], opens[1], longest[1], fewest);
	printf("killed: %lu, while they waited: %lu\n", shared->kills,
	       shared->kills_waiting);
	demand(fewest > 0, "everybody gets in");
	demand(longest[0] <= BOUND_SEC && longest[1] <= BOUND_SEC,
	       "nobody waits for more than 2 s");
	demand(shared->kills > 0 &&
		       (seconds < LONG_SEC || shared->kills_waiting),
	       "some were killed while they waited");
}

int main(int argc, char **argv)
{
	struct lease_config config = {
		.keeper_path = argv[1],
		.observer = {.changed = changed},
	};
	double seconds = argc > 3 ? strtod(argv[3], NULL) : 0;
	struct lease_want want = {.type = F_WRLCK, .length = SIZE};
	struct lease_engine *engine;
	struct lease *lease;
	double start, cpu, held;
	pid_t storm, keeper;
	int status = 1;

	if (seconds <= 0) {
		fprintf(stderr, "usage: lease_storm KEEPER FOLDER SECONDS\n");
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	/* Its name is made before the openers are, who go by it. */
	snprintf(path, sizeof(path), "%s/lease-storm-%d", argv[2], getpid());
	storm = fork();
	if (!storm)
		spawner(seconds);
	want.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (want.fd < 0 || ftruncate(want.fd, SIZE))
		give_up(path);
	if (lease_engine_start(&config, &engine) ||
	    lease_acquire(engine, &want, &lease))
		give_up("lease_acquire");
	keeper = find_keeper(want.fd);
	cpu = cpu_of(keeper);
	start = now();
	atomic_store(&shared->go, true);
	waitpid(storm, &status, 0);
	cpu = (cpu_of(keeper) - cpu) / (now() - start);
	held = wait_until_held(lease) - atomic_load(&shared->last_close);
	tell_openers(seconds);
	printf("breaks: %lu; the keeper took %.1f %% of a processor; held "
	       "again %.3f s after the last close\n",
	       atomic_load(&breaks), 100 * cpu, held);
	demand(status == 0, "openers end as they should");
	demand(atomic_load(&breaks) > 0, "the lease was broken at all");
	demand(atomic_load(&losses) == 0, "the kernel never takes the lease");
	/* In the first seconds the pauses grow: that is not its share yet. */
	demand(seconds < LONG_SEC || cpu <= SHARE,
	       "the keeper takes its share at most");
	demand(held <= BOUND_SEC, "the lease is back within 2 s");
	lease_release(lease, 0, SIZE, INT64_MAX);
	lease_engine_stop(engine);
	unlink(path);
	return failures != 0;
}
