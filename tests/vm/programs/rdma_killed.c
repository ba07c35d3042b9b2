/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_killed FILE DEVICE HOW:TIMES...
 *
 * A program registers FILE, a peer and a thread of its own count in it without
 * pause (counters.h), and it gets SIGKILL, so many times in each of these ways:
 *
 *   moments  in turn while it registers, while it runs, while somebody else
 *            opens the file, and while it deregisters;
 *   child    while a child that it forked lives on, and with it the QP and the
 *            MR: the peer goes on, and others are let in;
 *   keeper   after its keeper was killed, with another in its place;
 *   both     at one blow with its keeper. DEVICE is what FILE lies on.
 *
 * Who opens the file then must find all that was acknowledged, and no more than
 * was begun; of both at one blow, what the last write-back had. The counters go
 * on from round to round: what was there before is filled into the next shadow.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "killed.h"
#include "raw_file.h"

#define WAIT_SECONDS 30
#define SOME	     200 /* writes, or stores, that are waited for */

static const char *const phases[PHASES] = {
	"starting", "registering", "running", "deregistering", "deregistered",
};

static struct killed *killed;
static const char *path;
static struct counters_marks marks;
static unsigned char *bytes;
static const char *device;
static pid_t victim, peer;
static unsigned int killed_in[PHASES], killed_in_recall;
static double slowest_open;
/* How long it took the last time; what has a part before takes less. */
static int register_us[2] = {20000, 20000};
static int deregister_us = 20000, look_us = 20000;

static void sleep_us(int us)
{
	struct timespec pause = {
		.tv_sec = us / 1000000,
		.tv_nsec = us % 1000000 * 1000L,
	};

	nanosleep(&pause, NULL);
}

static void sleep_up_to(int us)
{
	sleep_us((int)(random() % (us + 1)));
}

static void check_lives(pid_t pid, const char *what)
{
	int status;

	if (waitpid(pid, &status, WNOHANG))
		die("%s ended too soon: status %#x", what, status);
}

#define WAIT_FOR(condition, ...)                                               \
	do {                                                                   \
		double deadline_ = now() + WAIT_SECONDS;                       \
                                                                               \
		while (!(condition)) {                                         \
			if (now() > deadline_)                                 \
				die(__VA_ARGS__);                              \
			sleep_us(200);                                         \
		}                                                              \
	} while (0)

static bool is_gone(pid_t pid)
{
	return kill(pid, 0) && errno == ESRCH;
}

static void reap(pid_t pid, const char *what, bool was_killed)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("%s cannot be waited for", what);
	if (was_killed ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL
		       : status)
		die("%s ended with status %#x", what, status);
}

static void start(bool has_part)
{
	struct counters *counters = &killed->counters;

	counters_read(path, bytes);
	memset(killed, 0, sizeof(*killed));
	counters_take(counters, bytes);
	atomic_store(&killed->has_part, has_part);
	peer = peer_start(killed);
	victim = victim_start(killed, path);
}

static void wait_for_phase(int phase)
{
	WAIT_FOR(atomic_load(&killed->phase) >= phase ||
			 (check_lives(victim, "the victim"), false),
		 "the victim stays in %s", phases[killed->phase]);
}

/* Both count on. */
static void wait_for_more(bool with_stores)
{
	struct counters *counters = &killed->counters;
	uint64_t writes = atomic_load(&counters->writes) + SOME;
	uint64_t stores = atomic_load(&counters->stores) + SOME;

	WAIT_FOR((atomic_load(&counters->writes) >= writes &&
		  (!with_stores || atomic_load(&counters->stores) >= stores)) ||
			 (check_lives(peer, "the peer"), false),
		 "no %u more writes are acknowledged", SOME);
}

static void run(bool has_part)
{
	start(has_part);
	wait_for_phase(RUNNING);
	register_us[has_part] = atomic_load(&killed->register_us);
	wait_for_more(true);
}

static void kill_victim(void)
{
	killed_in[atomic_load(&killed->phase)]++;
	kill(victim, SIGKILL);
	reap(victim, "the victim", true);
}

static void stop_peer(void)
{
	atomic_store(&killed->stop, 1);
	reap(peer, "the peer", false);
}

/* As somebody who knows nothing. */
static void open_file(void)
{
	double start_sec = now(), took;

	counters_read(path, bytes);
	took = now() - start_sec;
	if (took > slowest_open)
		slowest_open = took;
}

static void wait_for_keepers_end(void)
{
	WAIT_FOR(!find_keeper(), "the keeper does not end");
}

/* Where nobody has had the file the opener is who waits, not we. */
static void check_file(bool was_lent, const char *when)
{
	if (was_lent)
		wait_for_keepers_end();
	open_file();
	counters_mark_begun(&killed->counters, &marks);
	if (!counters_check(bytes, &marks)) {
		fflush(stdout);
		die("killed %s, the file is not as it must be", when);
	}
	wait_for_keepers_end();
}

static void end_round(bool was_lent, const char *when)
{
	stop_peer();
	counters_mark_done(&killed->counters, &marks);
	check_file(was_lent, when);
}

static bool is_running(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) ==
		       0 &&
	       !info.si_pid;
}

static pid_t start_outsider(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	counters_read(path, bytes);
	_exit(0);
}

/* What victims are to be written back by from now on; 0: nothing. */
static void set_flush_ms(const char *ms)
{
	if (setenv("DAXMR_FLUSH_MS", ms, 1))
		die("no memory");
}

/* One of each four rounds; the first has to come to its end to be measured. */
static void kill_once(unsigned int round)
{
	bool has_part = round / 4 % 2;
	double start_sec;
	pid_t outsider;

	switch (round % 4) {
	case 0:
		run(has_part);
		sleep_up_to(20000);
		kill_victim();
		end_round(false, "while it ran");
		break;
	case 1:
		start(has_part);
		wait_for_phase(REGISTERING);
		sleep_up_to(register_us[has_part]);
		kill_victim();
		end_round(false, "while it registered");
		break;
	case 2:
		run(has_part);
		start_sec = now();
		outsider = start_outsider();
		sleep_up_to(look_us);
		killed_in_recall += is_running(outsider);
		kill_victim();
		reap(outsider, "who opened the file", false);
		look_us = (int)((now() - start_sec) * 1e6);
		end_round(true, "while others opened the file");
		break;
	default:
		run(has_part);
		atomic_store(&killed->must_deregister, 1);
		wait_for_phase(DEREGISTERING);
		sleep_up_to(deregister_us);
		kill_victim();
		if (atomic_load(&killed->deregister_us))
			deregister_us = atomic_load(&killed->deregister_us);
		end_round(false, "while it deregistered");
	}
}

static void kill_at_moments(unsigned int rounds)
{
	double start_sec = now();

	for (unsigned int round = 0; round < rounds; round++) {
		/* Where only the last flush brings it to the file, and not. */
		set_flush_ms(round / 8 % 2 ? "20" : "0");
		kill_once(round);
		/* For who sees it not come to its end. */
		if (round % 20 == 19) {
			printf("%u rounds, %.0f s\n", round + 1,
			       now() - start_sec);
			fflush(stdout);
		}
	}
	printf("killed while registering %u, running %u (%u of it while others "
	       "opened), deregistering %u, after that %u\n",
	       killed_in[REGISTERING], killed_in[RUNNING], killed_in_recall,
	       killed_in[DEREGISTERING], killed_in[DEREGISTERED]);
	/* Often enough that a few rounds of each have hit what they were for.
	 */
	if (rounds >= 100 &&
	    (killed_in[REGISTERING] < 5 || killed_in_recall < 5 ||
	     killed_in[DEREGISTERING] < 5))
		die("some moments were hardly hit");
}

static void kill_with_child(void)
{
	pid_t child, keeper;

	set_flush_ms("0");
	run(false);
	atomic_store(&killed->must_fork, 1);
	WAIT_FOR(atomic_load(&killed->child), "the victim does not fork");
	child = atomic_load(&killed->child);
	keeper = find_keeper();
	kill_victim();
	wait_for_more(false);
	open_file(); /* of a program that is dead, with a device that writes */
	wait_for_more(false);
	if (!keeper || find_keeper() != keeper)
		die("the keeper has not stayed");
	kill(child, SIGKILL);
	WAIT_FOR(is_gone(child), "the child does not end");
	end_round(true, "with a child that lived on");
}

static void kill_keeper(void)
{
	pid_t keeper;

	set_flush_ms("0");
	run(false);
	keeper = find_keeper();
	if (!keeper || kill(keeper, SIGKILL))
		die("there is no keeper");
	WAIT_FOR(is_gone(keeper), "the keeper does not die");
	wait_for_more(true);
	open_file();
	wait_for_more(true);
	if (!find_keeper())
		die("there is no other keeper");
	kill_victim();
	end_round(true, "after its keeper");
}

static bool is_written_back(const struct raw_file *raw)
{
	raw_file_read(raw, bytes);
	return counters_has_least(bytes, &marks);
}

static void kill_both(void)
{
	struct raw_file raw;
	double start_sec;
	pid_t keeper;

	set_flush_ms("200");
	run(false);
	raw_file_open(&raw, path, device, COUNTERS_SIZE);
	start_sec = now();
	counters_mark_done(&killed->counters, &marks);
	WAIT_FOR(is_written_back(&raw), "nothing is written back unasked");
	printf("written back after %.0f ms\n", (now() - start_sec) * 1e3);
	raw_file_close(&raw);
	keeper = find_keeper();
	/* It cannot start another one. */
	kill(victim, SIGSTOP);
	if (!keeper || kill(keeper, SIGKILL))
		die("there is no keeper");
	kill_victim();
	stop_peer();
	check_file(true, "with its keeper");
}

static void kill_in_way(const char *how)
{
	const char *colon = strchr(how, ':');
	int times = colon ? atoi(colon + 1) : 0;
	void (*way)(void) = NULL;

	if (strncmp(how, "child:", 6) == 0)
		way = kill_with_child;
	else if (strncmp(how, "keeper:", 7) == 0)
		way = kill_keeper;
	else if (strncmp(how, "both:", 5) == 0)
		way = kill_both;
	else if (strncmp(how, "moments:", 8) != 0)
		die("rdma_killed does not know '%s'", how);
	if (way)
		while (times-- > 0)
			way();
	else
		kill_at_moments((unsigned int)times);
	printf("%s, slowest open till now %.1f ms\n", how, slowest_open * 1e3);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		die("usage: rdma_killed FILE DEVICE HOW:TIMES...");
	path = argv[1];
	device = argv[2];
	killed = mmap(NULL, sizeof(*killed), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bytes = aligned_alloc(4096, COUNTERS_SIZE);
	if (killed == MAP_FAILED || !bytes)
		die("no memory");
	srandom((unsigned int)getpid() ^ (unsigned int)time(NULL));
	counters_make(path);
	for (int i = 3; i < argc; i++)
		kill_in_way(argv[i]);
	return 0;
}
