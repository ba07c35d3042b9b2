/* SPDX-License-Identifier: BSD-2-Clause */
/* A signal there and back: round_trip.h. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pairs.h"
#include "round_trip.h"

static void user_signal(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGUSR1);
}

static void answer(pid_t parent, const sigset_t *set)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		sigwaitinfo(set, NULL);
		kill(parent, SIGUSR1);
	}
}

pid_t round_trip_start(void)
{
	pid_t parent = getpid(), child;
	sigset_t set;

	user_signal(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (!child)
		answer(parent, &set);
	return child;
}

double round_trip_us(pid_t partner)
{
	double start = pairs_now_ms();
	sigset_t set;

	user_signal(&set);
	kill(partner, SIGUSR1);
	sigwaitinfo(&set, NULL);
	return (pairs_now_ms() - start) * 1e3;
}

void round_trip_end(pid_t partner)
{
	kill(partner, SIGKILL);
	waitpid(partner, NULL, 0);
}

void round_trips(double *us, unsigned int count)
{
	pid_t partner = round_trip_start();

	for (unsigned int i = 0; i < count; i++)
		us[i] = round_trip_us(partner);
	round_trip_end(partner);
}
