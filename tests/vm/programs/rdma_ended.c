/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_ended FILE exit|term|kill
 *
 * A program registers FILE, a peer and a thread of its own count in it without
 * pause (counters.h), and it ends with all of that going on: by exit(), by
 * SIGTERM or by SIGKILL. As soon as its keeper has ended too, all that was
 * acknowledged is durable, though nobody has opened the file; a line on stdout
 * says how it ended, and all numbers:
 *
 *   durable HOW NUMBER... .
 *
 * Then it waits until the power is cut. `rdma_durable check` looks after that.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "killed.h"

#define WAIT_SECONDS 60
#define SOME	     200 /* writes, and stores, that are waited for */

static struct killed *killed;

static void wait_until(bool (*is_so)(void), const char *what)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	double deadline = now() + WAIT_SECONDS;

	while (!is_so()) {
		if (now() > deadline)
			die("not in %d s: %s", WAIT_SECONDS, what);
		nanosleep(&pause, NULL);
	}
}

static bool have_counted(void)
{
	return atomic_load(&killed->counters.writes) >= SOME &&
	       atomic_load(&killed->counters.stores) >= SOME;
}

static bool has_no_keeper(void)
{
	return !find_keeper();
}

static void reap(pid_t pid, int signal, const char *what)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("%s cannot be waited for", what);
	if (signal ? !WIFSIGNALED(status) || WTERMSIG(status) != signal
		   : status)
		die("%s ended with status %#x", what, status);
}

static void say_what_is_durable(const char *how)
{
	struct counters_marks marks;

	counters_mark_done(&killed->counters, &marks);
	printf("durable %s", how);
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		printf(" %lu", (unsigned long)marks.least[slot]);
	printf(" .\n");
}

int main(int argc, char **argv)
{
	const char *how = argc == 3 ? argv[2] : "";
	int signal = strcmp(how, "kill") == 0	? SIGKILL
		     : strcmp(how, "term") == 0 ? SIGTERM
						: 0;
	pid_t victim, peer;

	if (!signal && strcmp(how, "exit"))
		die("usage: rdma_ended FILE exit|term|kill");
	setlinebuf(stdout);
	killed = mmap(NULL, sizeof(*killed), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (killed == MAP_FAILED)
		die("no memory");
	counters_make(argv[1]);
	sync();
	peer = peer_start(killed);
	victim = victim_start(killed, argv[1]);
	wait_until(have_counted, "peer and thread count");
	if (signal)
		kill(victim, signal);
	else
		atomic_store(&killed->must_exit, 1);
	reap(victim, signal, "the program");
	atomic_store(&killed->stop, 1);
	reap(peer, 0, "the peer");
	wait_until(has_no_keeper, "the keeper ends");
	say_what_is_durable(how);
	for (;;)
		pause();
}
