/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_many KEEPER [FOLDER [COUNT]]
 *
 * COUNT files (10,000) leased by one process that maps and closes them, with a
 * soft limit of 1,024 descriptors (256 where the files are fewer than 10,000).
 * What an acquire costs, in the median of the first 100 and of the last: of
 * files that are mapped right before, and of some that were mapped when the
 * others were not yet leased. What a recall by an outsider's open() costs,
 * among all of them and, in turns, among the 120 files of another program.
 * Fails where the one is more than 1.5 of the other; where there is more than
 * four threads of ours in the program (errand.h) or more than one keeper; and
 * where anything of ours is in the program's descriptor table. The times of
 * fewer files are told and not judged, so that a machine that is busy does not
 * fail a short test. Without PROCMAP_QUERY (before Linux 6.11) which file lies
 * at an address is found among all mappings: what acquiring costs then grows
 * and is only told. Points for a plot: acquiring when there are 100, 1,000 and
 * so on, and recalls.
 */
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
#include <unistd.h>

#include "budget.h"
#include "lease.h"
#include "lease_many_seen.h"
#include "openers.h"
#include "pairs.h"
#include "reason.h"

#define FIRST	   100UL
#define JUDGED	   10000UL
#define WARM	   20UL /* before the first that count */
#define PAGE	   4096UL
#define GOAL	   1.5
#define SOFT_LIMIT 1024
#define LOW_LIMIT  256
#define WAIT_US	   20e6
#define THREADS	   4U

static char folder[4096 - 64];
static unsigned long count = 10000;
#define ALL (count + 2 * WARM + FIRST) /* ours and the other program's */
static struct leased {
	struct lease *lease;
	void *bytes;
} * files;
static ino_t *inodes;
static double *acquired;
static struct lease_engine *engine;
static int failures;

static double now_us(void)
{
	return pairs_now_ms() * 1e3;
}

static void clean_up(void)
{
	char path[4096];

	for (unsigned long i = 0; i < ALL; i++) {
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

static double median(double *us)
{
	return spread_of(us, FIRST).median;
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

static void acquire(unsigned long i)
{
	struct lease_want want = {
		.fd = -1,
		.type = F_WRLCK,
		.length = PAGE,
	};
	double start;

	if (!files[i].bytes)
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

/* Less than there are files, however few. */
static unsigned int soft_limit(void)
{
	return count < JUDGED ? LOW_LIMIT : SOFT_LIMIT;
}

static void tell_descriptors(unsigned int before)
{
	char engine_table[64] = "", keeper_table[64];
	unsigned int ours = seen_threads(engine_table, sizeof(engine_table));
	unsigned int after = seen_entries("/proc/self/fd", true);
	unsigned int keepers, engine_fds, tries = 20;
	unsigned long held;
	int pid = 0;

	/* What others unlock meanwhile makes the list skip as many lines. */
	do
		keepers = seen_keepers(inodes, count + WARM, &held, &pid);
	while (held != count + WARM && --tries);
	engine_fds = seen_entries(engine_table, true);
	snprintf(keeper_table, sizeof(keeper_table), "/proc/%d/fd", pid);
	printf("threads of ours: %u; keepers: %u, holding %lu leases\n", ours,
	       keepers, held);
	printf("descriptors: %u of ours in the program's table, %u in the "
	       "engine's, %u in the keeper's\n",
	       after - before, engine_fds, seen_entries(keeper_table, true));
	demand(ours == THREADS, "four threads of ours in the program");
	demand(keepers == 1 && held == count + WARM,
	       "one keeper holds all leases");
	demand(after == before, "nothing of ours in the program's table");
	demand(engine_fds <= soft_limit(),
	       "the engine's table within the limit");
}

static void wait_until_held(unsigned long i)
{
	double deadline = now_us() + WAIT_US;

	while (lease_state(files[i].lease) != RECALL_HELD) {
		if (now_us() > deadline)
			give_up("a lease that does not come back");
		usleep(100);
	}
}

/* Another program, whose files come after ours. */
static pid_t few;
static int few_ask[2], few_answer[2];

static void few_start(struct lease_config *config)
{
	unsigned long i;

	if (pipe2(few_ask, O_CLOEXEC) || pipe2(few_answer, O_CLOEXEC))
		give_up("pipe");
	few = fork();
	if (few)
		return;
	close(few_ask[1]);
	if (lease_engine_start(config, &engine))
		_exit(1);
	for (i = count + WARM; i < ALL; i++)
		acquire(i);
	i = 0;
	do {
		if (i)
			wait_until_held(i);
		if (write(few_answer[1], &i, sizeof(i)) != sizeof(i))
			break;
	} while (read(few_ask[0], &i, sizeof(i)) == sizeof(i));
	for (i = count + WARM; i < ALL; i++)
		lease_release(files[i].lease, 0, PAGE, INT64_MAX);
	lease_engine_stop(engine);
	_exit(0);
}

static void few_wait(unsigned long i)
{
	if ((i && write(few_ask[1], &i, sizeof(i)) != sizeof(i)) ||
	    read(few_answer[0], &i, sizeof(i)) != sizeof(i))
		give_up("the other program");
}

/* How long the opener waits; the file is HELD before and after. */
static double recall(unsigned long i)
{
	double us = -1;

	if (write(ask[1], &i, sizeof(i)) != sizeof(i) ||
	    read(answer[0], &us, sizeof(us)) != sizeof(us) || us < 0)
		give_up("an outsider's open()");
	if (i >= count + WARM)
		few_wait(i);
	else
		wait_until_held(i);
	return us;
}

static void tell_growth(const char *call, double among_many, double among_few,
			double goal)
{
	char what[128];

	snprintf(what, sizeof(what), "%s among %lu leased files", call,
		 count + WARM);
	failures += !budget_print_growth(what, among_many, among_few, goal);
}

/* The quickest, and up to the median: what else the machine does is not meant.
 */
static void point(const char *series, unsigned long among, double *us)
{
	struct spread spread = spread_of(us, FIRST);

	budget_point("scale-files", series, (double)among, spread.min,
		     spread.min, spread.median);
}

static void tell_recalls(void)
{
	double among_few[FIRST], among_all[FIRST];

	for (unsigned long i = 0; i < WARM; i++) {
		recall(i);
		recall(count + WARM + i);
	}
	for (unsigned long i = 0; i < FIRST; i++) {
		among_all[i] = recall(WARM + i * (count / FIRST));
		among_few[i] = recall(count + 2 * WARM + i);
	}
	tell_growth("recall", median(among_all), median(among_few),
		    count < JUDGED ? 0 : GOAL);
	point("recall", count, among_all);
	point("recall", FIRST, among_few);
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
	       seen_entries("/proc", true), median(us),
	       100 * median(us) / first);
}

static bool has_procmap_query(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 11);
}

/* The last 100 of those that were mapped long before come in between. */
static void acquire_all(void)
{
	unsigned long early = WARM + count / 2, late = WARM + count - FIRST;
	double first, last[FIRST], ahead[FIRST], goal;

	for (unsigned long i = 0; i < WARM + FIRST; i++)
		acquire(i);
	for (unsigned long i = WARM + FIRST; i < early; i++)
		files[i].bytes = map_file(i);
	first = median(acquired + WARM);
	tell_walk(first);
	for (unsigned long i = WARM + FIRST; i < early - FIRST; i++)
		acquire(i);
	for (unsigned long i = early; i < late; i++)
		acquire(i);
	for (unsigned long i = 0; i < FIRST; i++) {
		acquire(early - FIRST + i);
		ahead[i] = acquired[early - FIRST + i];
		acquire(late + i);
		last[i] = acquired[late + i];
	}
	for (unsigned long n = FIRST; n <= count; n *= 10)
		point("acquire", n, acquired + WARM + n - FIRST);
	goal = count < JUDGED || !has_procmap_query() ? 0 : GOAL;
	tell_growth("acquire", median(last), first, goal);
	tell_growth("acquire of what was mapped before,", median(ahead), first,
		    goal);
}

int main(int argc, char **argv)
{
	struct lease_config config = {
		.keeper_path = argv[1],
		.pause_min_ns = 100000,
		.pause_max_ns = 100000,
	};
	struct rlimit limit;
	double start;
	unsigned int fds;

	if (argc > 3)
		count = strtoul(argv[3], NULL, 10);
	if (argc < 2 || count < 3 * FIRST || count > 60000) {
		fprintf(stderr, "usage: lease_many KEEPER [FOLDER [COUNT]]\n");
		return 2;
	}
	snprintf(folder, sizeof(folder), "%s/lease-many-XXXXXX",
		 argc > 2 ? argv[2] : ".");
	files = calloc(ALL, sizeof(*files));
	inodes = calloc(ALL, sizeof(*inodes));
	acquired = calloc(ALL, sizeof(*acquired));
	if (!files || !inodes || !acquired || !mkdtemp(folder))
		give_up(folder);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = soft_limit();
	if (setrlimit(RLIMIT_NOFILE, &limit))
		give_up("setrlimit");
	outsider_start();
	if (outsider)
		few_start(&config);
	if (outsider < 0 || few < 0)
		give_up("fork");
	few_wait(0);
	if (lease_engine_start(&config, &engine))
		give_up("lease_engine_start");
	fds = seen_entries("/proc/self/fd", true);
	acquire_all();
	tell_recalls();
	tell_descriptors(fds);
	start = now_us();
	for (unsigned long i = 0; i < count + WARM; i++)
		lease_release(files[i].lease, 0, PAGE, INT64_MAX);
	printf("release: %.0f us each\n",
	       (now_us() - start) / (double)(count + WARM));
	lease_engine_stop(engine);
	close(few_ask[1]);
	waitpid(few, NULL, 0);
	close(ask[1]);
	waitpid(outsider, NULL, 0);
	clean_up();
	return failures != 0;
}
