/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the hooks on files cost: under the preload, each call as a program makes
 * it against the C library's own (through its handle), in turns, the median of
 * the differences. Without a lease, with one on another file, with a shadow,
 * and what the calls on a leased file and on one with a shadow take.
 *
 *     LD_PRELOAD=BUILD/libdaxmr-preload.so BUILD/tests/preload/own_calls FOLDER
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define PAIRS 31
#define CALLS 20000

static char path[300], other[300];
static int fd;

static struct {
	int (*open)(const char *path, int flags, ...);
	int (*close)(int fd);
	int (*ftruncate)(int fd, off_t length);
	int (*dup2)(int old, int new);
	int (*madvise)(void *addr, size_t length, int advice);
	ssize_t (*read)(int fd, void *buffer, size_t length);
	ssize_t (*pwrite)(int fd, const void *buffer, size_t length, off_t at);
	int (*fsync)(int fd);
	void (*persist)(const void *addr, size_t length);
	void *(*copy)(void *to, const void *from, size_t length,
		      unsigned int flags);
} plain;

/* libpmem's, where there is one: as a program that is linked to it calls them.
 */
__attribute__((weak)) void pmem_persist(const void *addr, size_t length);
__attribute__((weak)) void *pmem_memcpy(void *to, const void *from,
					size_t length, unsigned int flags);

static char memory[64] __attribute__((aligned(64)));

static void hooked_open(void)
{
	close(open(other, O_RDONLY));
}
static void plain_open(void)
{
	plain.close(plain.open(other, O_RDONLY));
}
static void hooked_close(void)
{
	close(-1);
}
static void plain_close(void)
{
	plain.close(-1);
}
static void hooked_ftruncate(void)
{
	(void)!ftruncate(-1, 0);
}
static void plain_ftruncate(void)
{
	(void)!plain.ftruncate(-1, 0);
}
static void hooked_dup2(void)
{
	dup2(-1, 5);
}
static void plain_dup2(void)
{
	plain.dup2(-1, 5);
}
static void hooked_madvise(void)
{
	madvise(NULL, 0, MADV_NORMAL);
}
static void plain_madvise(void)
{
	plain.madvise(NULL, 0, MADV_NORMAL);
}

static void hooked_read(void)
{
	(void)!read(-1, NULL, 0);
}
static void plain_read(void)
{
	(void)!plain.read(-1, NULL, 0);
}
static void hooked_pwrite(void)
{
	(void)!pwrite(-1, "", 0, 0);
}
static void plain_pwrite(void)
{
	(void)!plain.pwrite(-1, "", 0, 0);
}
static void hooked_fsync(void)
{
	fsync(-1);
}
static void plain_fsync(void)
{
	plain.fsync(-1);
}
static void hooked_persist(void)
{
	pmem_persist(memory, sizeof(memory));
}
static void plain_persist(void)
{
	plain.persist(memory, sizeof(memory));
}
static void hooked_copy(void)
{
	pmem_memcpy(memory, path, sizeof(memory), 0);
}
static void plain_copy(void)
{
	plain.copy(memory, path, sizeof(memory), 0);
}

static const struct {
	const char *name;
	void (*hooked)(void);
	void (*plain)(void);
} calls[] = {
	{"open+close", hooked_open, plain_open},
	{"close", hooked_close, plain_close},
	{"ftruncate", hooked_ftruncate, plain_ftruncate},
	{"dup2", hooked_dup2, plain_dup2},
	{"madvise", hooked_madvise, plain_madvise},
	{"read", hooked_read, plain_read},
	{"pwrite", hooked_pwrite, plain_pwrite},
	{"fsync", hooked_fsync, plain_fsync},
	{"pmem_persist", hooked_persist, plain_persist},
	{"pmem_memcpy", hooked_copy, plain_copy},
};

static double ns_of(void (*fn)(void), int n)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < n; i++)
		fn();
	clock_gettime(CLOCK_MONOTONIC, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 +
		(double)(b.tv_nsec - a.tv_nsec)) /
	       n;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const char *when, int n)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		double base[PAIRS], more[PAIRS];

		if (calls[i].plain == plain_persist && !plain.persist)
			break;
		for (int pair = 0; pair < PAIRS; pair++) {
			base[pair] = ns_of(calls[i].plain, n);
			more[pair] = ns_of(calls[i].hooked, n) - base[pair];
		}
		qsort(base, PAIRS, sizeof(double), compare);
		qsort(more, PAIRS, sizeof(double), compare);
		printf("%-20s %-11s %7.1f ns, hooked %+.1f ns\n", when,
		       calls[i].name, base[PAIRS / 2], more[PAIRS / 2]);
	}
}

static char *map;

static void staged_fsync(void)
{
	map[0]++;
	fsync(fd);
}
static void staged_persist(void)
{
	map[0]++;
	pmem_persist(map, 64);
}

static void leased_ftruncate(void)
{
	(void)!ftruncate(fd, 4096);
}
static void leased_truncate(void)
{
	static off_t size;

	size = 4096 + (size + 4096) % 8192;
	(void)!truncate(path, size);
}

static char page[4096];

static void staged_read(void)
{
	(void)!pread(fd, page, sizeof(page), 0);
}
static void staged_write(void)
{
	(void)!pwrite(fd, page, sizeof(page), 0);
}
static void plain_read_page(void)
{
	(void)!syscall(SYS_pread64, fd, page, sizeof(page), 0L);
}

#define REGION (64UL << 20)
#define ROUNDS 201

/*
 * A range of a large shadow made durable, a store in it before: the shadow is
 * all written first, and shared memory that has none costs what it costs.
 */
static void measure_range(const char *what, size_t length)
{
	double us[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		struct timespec a, b;
		char *at = map + (size_t)i * 79 * 4096 % (REGION - length);

		at[0]++;
		clock_gettime(CLOCK_MONOTONIC, &a);
		if (plain.persist)
			pmem_persist(at, length);
		else
			msync(at, length, MS_SYNC);
		clock_gettime(CLOCK_MONOTONIC, &b);
		us[i] = (double)(b.tv_sec - a.tv_sec) * 1e6 +
			(double)(b.tv_nsec - a.tv_nsec) / 1e3;
	}
	qsort(us, ROUNDS, sizeof(double), compare);
	printf("shadow of 64 MiB: %s made durable: median %.1f us, p99 %.1f "
	       "us\n",
	       what, us[ROUNDS / 2], us[ROUNDS * 99 / 100]);
}

static void measure_region(const struct engine *engine, struct lease *lease)
{
	map = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || engine->lease_stage(lease, 0, REGION))
		return;
	fsync(fd);
	measure_range("64 bytes", 64);
	measure_range("1 MiB", 1 << 20);
	engine->lease_unstage(lease, 0, REGION);
	munmap(map, REGION);
}

static void measure_staged(const struct engine *engine, struct lease *lease)
{
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || engine->lease_stage(lease, 0, 4096))
		return;
	measure("file with a shadow", CALLS / 20);
	printf("shadow: 4 KiB pread %.2f us, pwrite %.2f us; file: %.2f us\n",
	       ns_of(staged_read, CALLS) / 1000,
	       ns_of(staged_write, CALLS) / 1000,
	       ns_of(plain_read_page, CALLS) / 1000);
	printf("shadow of 4 KiB: store and fsync %.1f us",
	       ns_of(staged_fsync, 200) / 1000);
	if (plain.persist)
		printf(", pmem_persist %.1f us",
		       ns_of(staged_persist, 200) / 1000);
	printf("\n");
	engine->lease_unstage(lease, 0, 4096);
	munmap(map, 4096);
}

/* Its own functions, past our dlsym(). */
static void find_libpmem(void)
{
	struct link_map *library = dlopen("libpmem.so.1", RTLD_NOW);
	void *(*find)(void *handle, const char *name);
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	*(void **)&find = dlsym(libc, "dlsym");
	if (!library || !find)
		return;
	*(void **)&plain.persist = find(library, "pmem_persist");
	*(void **)&plain.copy = find(library, "pmem_memcpy");
}

int main(int argc, char **argv)
{
	const struct engine *(*get)(unsigned int version);
	const struct engine *engine;
	struct lease_want want = {.type = F_WRLCK, .length = 4096};
	struct lease *lease;
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	*(void **)&get = dlsym(RTLD_DEFAULT, "daxmr_private_engine");
	engine = get ? get(DAXMR_ENGINE_VERSION) : NULL;
	if (argc != 2 || !engine || !libc) {
		fprintf(stderr, "LD_PRELOAD=libdaxmr-preload.so %s FOLDER\n",
			argv[0]);
		return 2;
	}
	*(void **)&plain.open = dlsym(libc, "open");
	*(void **)&plain.close = dlsym(libc, "close");
	*(void **)&plain.ftruncate = dlsym(libc, "ftruncate");
	*(void **)&plain.dup2 = dlsym(libc, "dup2");
	*(void **)&plain.madvise = dlsym(libc, "madvise");
	*(void **)&plain.read = dlsym(libc, "read");
	*(void **)&plain.pwrite = dlsym(libc, "pwrite");
	*(void **)&plain.fsync = dlsym(libc, "fsync");
	find_libpmem();
	snprintf(path, sizeof(path), "%s/own-bench-XXXXXX", argv[1]);
	snprintf(other, sizeof(other), "%s/own-bench-XXXXXX", argv[1]);
	fd = mkstemp(path);
	want.fd = fd;
	if (fd < 0 || ftruncate(fd, 4096) || close(mkstemp(other)))
		return 2;
	measure("no lease", CALLS);
	if (!engine->lease_acquire(&want, &lease)) {
		measure("another file leased", CALLS);
		printf("leased file: ftruncate %.1f us, truncate %.1f us\n",
		       ns_of(leased_ftruncate, 1000) / 1000,
		       ns_of(leased_truncate, 1000) / 1000);
		measure_staged(engine, lease);
		engine->lease_release(lease, 0, 4096, INT64_MAX);
		want.length = REGION;
		if (!ftruncate(fd, REGION) &&
		    !engine->lease_acquire(&want, &lease)) {
			measure_region(engine, lease);
			engine->lease_release(lease, 0, REGION, INT64_MAX);
		}
	}
	unlink(path);
	unlink(other);
	return 0;
}
