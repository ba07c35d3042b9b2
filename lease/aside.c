/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread that does not count: aside.h. */
#include <stdatomic.h>
#include <unistd.h>

#include "aside.h"

static _Atomic pid_t aside_tid; /* 0: none */

void aside_step_out(void)
{
	atomic_store(&aside_tid, gettid());
}

void aside_step_in(void)
{
	atomic_store(&aside_tid, 0);
}

void aside_forget(void)
{
	atomic_store(&aside_tid, 0);
}

bool aside_is(pid_t tid)
{
	return tid && atomic_load(&aside_tid) == tid;
}
