/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_opens FILE BREAKS
 *
 * A peer writes into 64 MiB of FILE as fast as it can, and another process
 * opens the file BREAKS times, each time when the lease is back and the keeper
 * at rest. Told and held against their goals (design.md section 8):
 *
 *   an open      p50, p99 and the longest, over three times the flush alone and
 *                ten round trips of a signal. The flush alone is an open while
 *                nobody writes, after the program has stored as much as the
 *                peer had written between two opens.
 *   the peer     how much slower it was while the file was opened, over what
 *                the keeper took of a processor.
 *
 * In turns: nobody opens, somebody does, the flush alone. Each open is held
 * against the flush alone of its own turn, so that what else the machine has to
 * do counts on both sides.
 *
 * Who opens it again at once waits for what is left of the merge as well: that
 * is told, of a tenth as many.
 *
 * Run it under daxmr without write-back, so that a flush has to carry all. The
 * program knows nothing of daxmr; it fails where a goal is missed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "outside.h"
#include "budget.h"
#include "pairs.h"
#include "round_trip.h"

#define SIZE	    (64UL << 20)
#define MESSAGE	    (64U << 10)
#define OUTSTANDING 32U
#define TURNS	    5U /* at least, and one for so many breaks: */
#define TURN	    20U
#define QUIET_MS    1500
#define ALONE	    3U /* in each turn */
#define TRIPS	    1000U
#define WAIT_MS	    60000
#define REST_LOOKS  10 /* one after the other, that find it waiting */

enum mode {
	IDLE,
	WRITE, /* the peer does */
	STORE, /* the program does, `amount` bytes; then IDLE */
	END
};

/* Between the two processes. */
static struct board {
	atomic_int mode;
	_Atomic uint64_t amount;
	_Atomic uint64_t written; /* bytes, complete */
} * board;

static struct pairs speeds; /* with and without openers: times per byte */
static double alone[PAIRS_MAX], shares[PAIRS_MAX];
static double *opens, *amounts;
static unsigned int breaks, turns;

static void nap(void)
{
	struct timespec pause = {.tv_nsec = 5000000};

	nanosleep(&pause, NULL);
}

static bool is_leased(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		die("%s is not there", path);
	return outside_is_leased(st.st_ino);
}

/* The keeper, of which there is one in the rig; 0: none. */
static pid_t find_keeper(void)
{
	DIR *proc = opendir("/proc");
	char path[300], name[32] = "";
	struct dirent *entry;
	pid_t found = 0;

	while (proc && (entry = readdir(proc))) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		comm = fopen(path, "re");
		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) &&
		    !strcmp(name, "daxmr-keeper\n"))
			found = atoi(entry->d_name);
		fclose(comm);
	}
	if (proc)
		closedir(proc);
	return found;
}

/* What it has spent, in seconds, and whether it waits. */
static double keeper_cpu(bool *ret_waits)
{
	static pid_t keeper;
	unsigned long user, system;
	char path[64], line[512] = "";
	char state;
	FILE *file;

	if (!keeper)
		keeper = find_keeper();
	snprintf(path, sizeof(path), "/proc/%d/stat", keeper);
	file = fopen(path, "re");
	if (!file || !fgets(line, sizeof(line), file) ||
	    sscanf(strrchr(line, ')') + 1,
		   " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &state, &user, &system) != 3)
		die("no keeper");
	fclose(file);
	if (ret_waits)
		*ret_waits = state == 'S';
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* For the lease, and if so for the keeper to have nothing to do any more. */
static void wait_for_lease(const char *path, bool at_rest)
{
	double until = pairs_now_ms() + WAIT_MS, spent = 0;
	bool waits = false;
	int looks = 0;

	while (!is_leased(path) || (at_rest && looks < REST_LOOKS)) {
		if (pairs_now_ms() > until)
			die("the lease has not come back in %d s",
			    WAIT_MS / 1000);
		nap();
		if (at_rest && is_leased(path)) {
			double now_spent = keeper_cpu(&waits);

			looks = waits && now_spent == spent ? looks + 1 : 0;
			spent = now_spent;
		}
	}
}

/* No hook is asked: as any other program. */
static double time_open(const char *path)
{
	double start = pairs_now_ms(), took;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);

	took = pairs_now_ms() - start;
	if (fd < 0)
		die("open: %m");
	syscall(SYS_close, fd);
	return took;
}

/* What the peer has written by then, and when that was. */
struct moment {
	double ms;
	uint64_t bytes;
};

static struct moment look(void)
{
	return (struct moment){pairs_now_ms(), atomic_load(&board->written)};
}

static double ms_per_mib(struct moment from)
{
	struct moment to = look();

	if (to.bytes == from.bytes)
		die("the peer writes nothing");
	return (to.ms - from.ms) / ((double)(to.bytes - from.bytes) / 0x1p20);
}

static double without_openers(const char *path)
{
	struct moment start;

	wait_for_lease(path, true);
	start = look();
	/* Whoever waits for the lease looks as often. */
	while (pairs_now_ms() - start.ms < QUIET_MS) {
		nap();
		if (is_leased(path))
			keeper_cpu(NULL);
	}
	return ms_per_mib(start);
}

/* The first of a turn's. */
static unsigned int first_of(unsigned int turn)
{
	return breaks * turn / turns;
}

static double with_openers(const char *path, unsigned int turn)
{
	struct moment start;
	uint64_t before;
	double cpu;

	/* Has all that was written while nobody opened it, the first time with
	 * its page tables: not one of those. */
	wait_for_lease(path, true);
	printf("# turn %u: the first open %.1f ms\n", turn + 1,
	       time_open(path));
	start = look();
	cpu = keeper_cpu(NULL);
	before = start.bytes;
	for (unsigned int i = first_of(turn); i < first_of(turn + 1); i++) {
		wait_for_lease(path, true);
		opens[i] = time_open(path);
		amounts[i] = (double)(atomic_load(&board->written) - before);
		before += (uint64_t)amounts[i];
	}
	shares[turn] =
		(keeper_cpu(NULL) - cpu) / (pairs_now_ms() - start.ms) * 1e3;
	return ms_per_mib(start);
}

static void tell_hasty(const char *path, unsigned int count)
{
	double *hasty = calloc(count, sizeof(*hasty));
	struct spread spread;

	if (!hasty)
		die("no memory");
	for (unsigned int i = 0; i < count; i++) {
		wait_for_lease(path, false);
		hasty[i] = time_open(path);
	}
	spread = spread_of(hasty, count);
	printf("# opened again at once, %u breaks: median %.1f ms, max "
	       "%.1f ms\n",
	       count, spread.median, spread.max);
	free(hasty);
}

/* The peer pauses for it. */
static double flush_alone(const char *path, unsigned int turn)
{
	unsigned int first = first_of(turn), count = first_of(turn + 1) - first;
	double took[ALONE] = {0}, amount;

	amount = spread_of(amounts + first, count).median;
	atomic_store(&board->mode, IDLE);
	atomic_store(&board->amount, amount < SIZE ? (uint64_t)amount : SIZE);
	for (unsigned int i = 0; i < ALONE; i++) {
		wait_for_lease(path, true);
		atomic_store(&board->mode, STORE);
		while (atomic_load(&board->mode) == STORE)
			nap();
		took[i] = time_open(path);
	}
	atomic_store(&board->mode, WRITE);
	return spread_of(took, ALONE).median;
}

static void tell_turn(unsigned int turn)
{
	unsigned int first = first_of(turn), count = first_of(turn + 1) - first;
	struct spread spread = spread_of(opens + first, count);

	printf("# turn %u: flush alone %.1f ms; opens median %.1f ms, "
	       "max %.1f ms; the keeper's share %.2f\n",
	       turn + 1, alone[turn], spread.median, spread.max, shares[turn]);
	fflush(stdout);
}

static double percentile(const double *sorted, unsigned int percent)
{
	return sorted[(breaks * percent - 1) / 100];
}

static bool judge_opens(double trip)
{
	double *parts = calloc(breaks, sizeof(*parts)), bound;
	bool is_met;

	if (!parts)
		die("no memory");
	for (unsigned int turn = 0; turn < turns; turn++)
		for (unsigned int i = first_of(turn); i < first_of(turn + 1);
		     i++)
			parts[i] = opens[i] / (3 * alone[turn] + 10 * trip);
	spread_of(parts, breaks);
	spread_of(opens, breaks);
	bound = 3 * spread_of(alone, turns).median + 10 * trip;
	is_met = budget_print(&(struct budget){
		.what = "an outsider's open under load, p99",
		.unit = "ms",
		.base_name = "three flushes and ten round trips of a signal",
		.ours = percentile(opens, 99),
		.base = bound,
		.ratio = percentile(parts, 99),
		.min = percentile(parts, 50),
		.max = parts[breaks - 1],
		.count = breaks,
		.goal = 1,
	});
	printf("# the least of the three ratios is the median; %u turns, %.1f "
	       "MiB flushed, round trip %.3f ms, opens: median %.1f ms, max "
	       "%.1f ms\n",
	       turns, (double)atomic_load(&board->amount) / 0x1p20, trip,
	       percentile(opens, 50), opens[breaks - 1]);
	free(parts);
	return is_met;
}

static bool judge_peer(void)
{
	double ratios[PAIRS_MAX] = {0}, slower, share;
	struct spread spread;

	for (unsigned int i = 0; i < turns; i++)
		ratios[i] = speeds.base[i] / speeds.ours[i];
	spread = spread_of(ratios, turns);
	share = spread_of(shares, turns).median;
	slower = 1 - spread.median;
	printf("# %.1f MiB/s while the file is opened, %.1f else\n",
	       1e3 / spread_of(speeds.ours, turns).median,
	       1e3 / spread_of(speeds.base, turns).median);
	return budget_print(&(struct budget){
		.what = "the peer's throughput lost while the file is opened",
		.unit = "of 1",
		.base_name = "the keeper's share of a processor",
		.ours = slower,
		.base = share,
		.ratio = slower / share,
		.min = (1 - spread.max) / share,
		.max = (1 - spread.min) / share,
		.count = turns,
		.goal = 1,
	});
}

/* It was forked before there was anything: it has nothing of the file. */
static void be_outsider(const char *path)
{
	double trips[TRIPS] = {0};
	bool is_met;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	opens = calloc(breaks, sizeof(*opens));
	amounts = calloc(breaks, sizeof(*amounts));
	if (!opens || !amounts)
		die("no memory");
	while (atomic_load(&board->mode) != WRITE)
		nap();
	for (unsigned int i = 0; i < turns; i++) {
		speeds.base[i] = without_openers(path);
		speeds.ours[i] = with_openers(path, i);
		alone[i] = flush_alone(path, i);
		tell_turn(i);
	}
	tell_hasty(path, (breaks + 9) / 10);
	atomic_store(&board->mode, IDLE);
	round_trips(trips, TRIPS);
	is_met = judge_opens(spread_of(trips, TRIPS).median / 1e3);
	is_met &= judge_peer();
	fflush(stdout);
	atomic_store(&board->mode, END);
	_exit(!is_met);
}

/* One write more is under way; each lies behind the last, round and round. */
static void post_write(struct end *peer, struct ibv_mr *buffer,
		       uintptr_t remote, uint32_t rkey)
{
	static uint64_t at;
	struct ibv_sge sge = {(uintptr_t)buffer->addr, MESSAGE, buffer->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {remote + at, rkey},
	};
	struct ibv_send_wr *bad;

	/* No block is ever what it was. */
	for (uint64_t i = 0; i < MESSAGE; i += 4096)
		++*(uint64_t *)((uint8_t *)buffer->addr + i);
	if (ibv_post_send(peer->qp, &wr, &bad))
		die("ibv_post_send: %m");
	at = (at + MESSAGE) % SIZE;
}

static void write_on(struct end *peer, struct ibv_mr *buffer, uintptr_t remote,
		     uint32_t rkey)
{
	unsigned int under_way = 0;

	while (under_way || atomic_load(&board->mode) == WRITE) {
		while (under_way < OUTSTANDING &&
		       atomic_load(&board->mode) == WRITE) {
			post_write(peer, buffer, remote, rkey);
			under_way++;
		}
		if (under_way && end_wait(peer, 20) != IBV_WC_SUCCESS)
			die("a write failed");
		under_way--;
		atomic_fetch_add(&board->written, MESSAGE);
	}
}

static void store(uint8_t *file, uint64_t amount)
{
	for (uint64_t at = 0; at < amount; at += sizeof(uint64_t))
		++*(uint64_t *)(file + at);
}

int main(int argc, char **argv)
{
	struct ibv_mr *mr, *buffer_mr;
	struct end server, peer;
	uint8_t *file, *buffer;
	int status, mode;
	pid_t ended = 0;
	pid_t pid;

	breaks = argc == 3 ? (unsigned int)atoi(argv[2]) : 0;
	turns = breaks / TURN;
	turns = turns < TURNS ? TURNS : turns > PAIRS_MAX ? PAIRS_MAX : turns;
	if (breaks < TURNS)
		die("usage: rdma_opens FILE BREAKS");
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		die("no memory");
	pid = fork();
	if (!pid)
		be_outsider(argv[1]);
	file = map_file(argv[1], SIZE);
	buffer = aligned_alloc(4096, MESSAGE);
	if (pid < 0 || !buffer)
		die("no memory");
	memset(buffer, 1, MESSAGE);
	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	mr = end_register(&server, file, SIZE, REMOTE_ALL);
	buffer_mr = end_register(&peer, buffer, MESSAGE, REMOTE_ALL);
	atomic_store(&board->mode, WRITE);
	while (!ended && (mode = atomic_load(&board->mode)) != END) {
		if (mode == WRITE) {
			write_on(&peer, buffer_mr, (uintptr_t)file, mr->rkey);
		} else if (mode == STORE) {
			store(file, atomic_load(&board->amount));
			atomic_store(&board->mode, IDLE);
		} else {
			nap();
		}
		ended = waitpid(pid, &status, WNOHANG);
	}
	if (!ended)
		ended = waitpid(pid, &status, 0);
	if (ended != pid)
		die("no outsider");
	if (ibv_dereg_mr(mr) || ibv_dereg_mr(buffer_mr))
		die("ibv_dereg_mr failed");
	end_close(&server);
	end_close(&peer);
	return status != 0;
}
