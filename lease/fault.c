/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that may not be there: fault.h. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

#include "fault.h"

static _Thread_local sigjmp_buf *volatile way_out;

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
	(void)context;
	/* Sent by somebody: none of a memory access. */
	if (info->si_code <= 0)
		return;
	if (way_out)
		siglongjmp(*way_out, 1);
	/* The access is made again, and ends us as it would have. */
	signal(signal_number, SIG_DFL);
}

int fault_init(void)
{
	/* The mask stays as it is in the handler: a jump restores nothing. */
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	sigset_t set;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, NULL))
		return -errno;
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

bool fault_try(void (*fn)(void *arg), void *arg)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 0)) {
		way_out = NULL;
		return false;
	}
	way_out = &here;
	fn(arg);
	way_out = NULL;
	return true;
}
