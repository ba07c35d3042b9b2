/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_many KEEPER [FOLDER [COUNT]]
 *
 * COUNT files (10,000) leased by one process that maps and closes them, with a
 * soft limit of 1,024 descriptors. What the last 100 cost over what the first
 * 100 did, to acquire, and to recall by an outsider's open() (of 100 files
 * while 100 are leased, and again while all are). Fails where that is more than
 * 1.5; where there is more than one thread of ours in the program or more than
 * one keeper; and where anything of ours is in the program's descriptor table.
 * Without PROCMAP_QUERY (before Linux 6.11) which file lies at an address is
 * found among all mappings: what acquiring costs then grows and is only told.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "openers.h"
#include "reason.h"

#define FIRST	   100UL
#define QUICKEST   90UL
#define WARM	   20UL /* before the first that count */
#define PAGE	   4096UL
#define GOAL	   1.5
#define SOFT_LIMIT 1024
#define WAIT_US	   20e6

static char folder[4096 - 64];
static unsigned long count = 10000;
static struct leased {
	struct lease *lease;
	void *bytes;
} * files;
static ino_t *inodes;
static double *acquired;
static int failures;

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void clean_up(void)
{
	char path[4096];

	for (unsigned long i = 0; i < count + WARM; i++) {
		snprintf(path, sizeof(path), "%s/%lu", folder, i);
		unlink(path);
	}
	rmdir(folder);
}

static _Noreturn void give_up(const char *what)
{
	perror(what);
	fprintf(stderr, "%s\n", reason_text());
	clean_up();
	exit(2);
}

static void demand(bool holds, const char *what)
{
	if (holds)
		return;
	printf("NOT SO: %s\n", what);
	failures++;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of the 90 quickest: what else the machine does is not meant. */
static double mean(double *us)
{
	double sum = 0;

	qsort(us, FIRST, sizeof(*us), compare);
	for (unsigned long i = 0; i < QUICKEST; i++)
		sum += us[i];
	return sum / (double)QUICKEST;
}

static unsigned int entries(const char *path, bool only_numbers)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int n = 0;

	if (!dir)
		give_up(path);
	while ((entry = readdir(dir)))
		n += only_numbers ? entry->d_name[0] >= '0' &&
					    entry->d_name[0] <= '9'
				  : entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* An outsider, forked before anything is open or mapped. */
static pid_t outsider;
static int ask[2], answer[2];

static void outsider_start(void)
{
	unsigned long i;

	if (pipe2(ask, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		give_up("pipe");
	outsider = fork();
	if (outsider)
		return;
	close(ask[1]);
	while (read(ask[0], &i, sizeof(i)) == sizeof(i)) {
		char path[4096];
		double us;
		int fd;

		snprintf(path, sizeof(path), "%s/%lu", folder, i);
		us = now_us();
		fd = open(path, O_RDONLY | O_CLOEXEC);
		us = fd < 0 ? -1 : now_us() - us;
		close(fd);
		if (write(answer[1], &us, sizeof(us)) != sizeof(us))
			_exit(1);
	}
	_exit(0);
}

/* How long the opener waits; the file is HELD before and after. */
static double recall(unsigned long i)
{
	double us = -1, deadline;

	if (write(ask[1], &i, sizeof(i)) != sizeof(i) ||
	    read(answer[0], &us, sizeof(us)) != sizeof(us) || us < 0)
		give_up("an outsider's open()");
	deadline = now_us() + WAIT_US;
	while (lease_state(files[i].lease) != RECALL_HELD) {
		if (now_us() > deadline)
			give_up("a lease that does not come back");
		usleep(100);
	}
	return us;
}

static double recall_first(void)
{
	double us[FIRST];

	for (unsigned long i = 0; i < FIRST; i++)
		us[i] = recall(WARM + i);
	return mean(us);
}

static void *map_file(unsigned long i)
{
	char path[4096];
	struct stat st;
	void *bytes;
	int fd;

	snprintf(path, sizeof(path), "%s/%lu", folder, i);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)PAGE) || fstat(fd, &st))
		give_up(path);
	bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		give_up("mmap");
	inodes[i] = st.st_ino;
	memset(bytes, 1, PAGE);
	return bytes;
}

static void acquire(struct lease_engine *engine, unsigned long i)
{
	struct lease_want want = {
		.fd = -1,
		.type = F_WRLCK,
		.length = PAGE,
	};
	double start;

	files[i].bytes = map_file(i);
	want.addr = (uintptr_t)files[i].bytes;
	start = now_us();
	if (lease_acquire(engine, &want, &files[i].lease)) {
		printf("file %lu of %lu: ", i + 1, count + WARM);
		fflush(stdout);
		give_up("lease_acquire");
	}
	acquired[i] = now_us() - start;
}

static int compare_inodes(const void *a, const void *b)
{
	ino_t x = *(const ino_t *)a, y = *(const ino_t *)b;

	return (x > y) - (x < y);
}

/* Who holds leases on the files, of /proc/locks: the keepers. */
static unsigned int count_keepers(unsigned long *held, int *pid)
{
	FILE *locks = fopen("/proc/locks", "re");
	unsigned int keepers = 0;
	char line[256];

	if (!locks)
		give_up("/proc/locks");
	qsort(inodes, count + WARM, sizeof(*inodes), compare_inodes);
	*held = 0;
	while (fgets(line, sizeof(line), locks)) {
		unsigned long inode;
		ino_t wanted;
		int holder;

		if (!strstr(line, "LEASE") ||
		    sscanf(line, "%*s %*s %*s %*s %d %*x:%*x:%lu", &holder,
			   &inode) != 2)
			continue;
		wanted = inode;
		if (!bsearch(&wanted, inodes, count + WARM, sizeof(wanted),
			     compare_inodes))
			continue;
		++*held;
		keepers += !keepers || holder != *pid;
		*pid = holder;
	}
	fclose(locks);
	return keepers;
}

/* The engine's thread: the one beside the first. */
static unsigned int threads(char *table, size_t size)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned int n = 0;

	while (dir && (entry = readdir(dir))) {
		int tid = atoi(entry->d_name);

		if (!tid || tid == getpid())
			continue;
		snprintf(table, size, "/proc/self/task/%d/fd", tid);
		n++;
	}
	closedir(dir);
	return n;
}

static void tell_descriptors(unsigned int before)
{
	char engine_table[64] = "", keeper_table[64];
	unsigned int ours = threads(engine_table, sizeof(engine_table));
	unsigned int after = entries("/proc/self/fd", true);
	unsigned int keepers, engine_fds;
	unsigned long held;
	int pid = 0;

	keepers = count_keepers(&held, &pid);
	engine_fds = entries(engine_table, true);
	snprintf(keeper_table, sizeof(keeper_table), "/proc/%d/fd", pid);
	printf("threads of ours: %u; keepers: %u, holding %lu leases\n", ours,
	       keepers, held);
	printf("descriptors: %u of ours in the program's table, %u in the "
	       "engine's, %u in the keeper's\n",
	       after - before, engine_fds, entries(keeper_table, true));
	demand(ours == 1, "one thread of ours in the program");
	demand(keepers == 1 && held == count + WARM,
	       "one keeper holds all leases");
	demand(after == before, "nothing of ours in the program's table");
	demand(engine_fds <= SOFT_LIMIT, "the engine's table within the limit");
}

/* What /proc has to say of other processes is asked for at each acquire. */
static void tell_walk(double first)
{
	char path[4096];
	struct openers openers;
	double us[FIRST];
	int fd;

	snprintf(path, sizeof(path), "%s/walk", folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unlink(path);
	for (unsigned long i = 0; i < FIRST; i++) {
		us[i] = now_us();
		openers_find(fd, 0, OPENERS_ALL, &openers);
		us[i] = now_us() - us[i];
	}
	close(fd);
	printf("of an acquire, looking at the %u processes of the machine: "
	       "%.0f us, %.0f %%\n",
	       entries("/proc", true), mean(us), 100 * mean(us) / first);
}

static bool has_procmap_query(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 11);
}

int main(int argc, char **argv)
{
	struct lease_config config = {
		.keeper_path = argv[1],
		.pause_min_ns = 100000,
		.pause_max_ns = 100000,
	};
	struct rlimit limit;
	struct lease_engine *engine;
	double recall_before, recall_after, first, last, start;
	unsigned int fds;

	if (argc > 3)
		count = strtoul(argv[3], NULL, 10);
	if (argc < 2 || count < 2 * FIRST || count > 60000) {
		fprintf(stderr, "usage: lease_many KEEPER [FOLDER [COUNT]]\n");
		return 2;
	}
	snprintf(folder, sizeof(folder), "%s/lease-many-XXXXXX",
		 argc > 2 ? argv[2] : ".");
	files = calloc(count + WARM, sizeof(*files));
	inodes = calloc(count + WARM, sizeof(*inodes));
	acquired = calloc(count + WARM, sizeof(*acquired));
	if (!files || !inodes || !acquired || !mkdtemp(folder))
		give_up(folder);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = SOFT_LIMIT;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		give_up("setrlimit");
	outsider_start();
	if (!outsider || lease_engine_start(&config, &engine))
		give_up("lease_engine_start");
	fds = entries("/proc/self/fd", true);
	for (unsigned long i = 0; i < WARM + FIRST; i++)
		acquire(engine, i);
	first = mean(acquired + WARM);
	tell_walk(first);
	recall_first();
	recall_before = recall_first();
	for (unsigned long i = WARM + FIRST; i < WARM + count; i++)
		acquire(engine, i);
	last = mean(acquired + WARM + count - FIRST);
	recall_first();
	recall_after = recall_first();
	printf("acquire: first %lu %.0f us, last %lu of %lu %.0f us, ratio "
	       "%.2f (goal: %.1f)\n",
	       FIRST, first, FIRST, count, last, last / first, GOAL);
	printf("recall: among %lu %.0f us, among %lu %.0f us, ratio %.2f "
	       "(goal: %.1f)\n",
	       FIRST, recall_before, count, recall_after,
	       recall_after / recall_before, GOAL);
	if (has_procmap_query())
		demand(last <= GOAL * first, "acquire costs the same");
	demand(recall_after <= GOAL * recall_before, "recall costs the same");
	tell_descriptors(fds);
	start = now_us();
	for (unsigned long i = 0; i < count + WARM; i++)
		lease_release(files[i].lease, INT64_MAX);
	printf("release: %.0f us each\n",
	       (now_us() - start) / (double)(count + WARM));
	lease_engine_stop(engine);
	close(ask[1]);
	waitpid(outsider, NULL, 0);
	clean_up();
	return failures != 0;
}
