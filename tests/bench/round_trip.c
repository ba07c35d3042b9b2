/* SPDX-License-Identifier: BSD-2-Clause */
/* A signal there and back: round_trip.h. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pairs.h"
#include "round_trip.h"

static void answer(pid_t parent, const sigset_t *set)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		sigwaitinfo(set, NULL);
		kill(parent, SIGUSR1);
	}
}

void round_trips(double *us, unsigned int count)
{
	pid_t parent = getpid(), child;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (!child)
		answer(parent, &set);
	for (unsigned int i = 0; i < count; i++) {
		double start = pairs_now_ms();

		kill(child, SIGUSR1);
		sigwaitinfo(&set, NULL);
		us[i] = (pairs_now_ms() - start) * 1e3;
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
