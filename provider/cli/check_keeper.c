/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "config.h"
#include "keeper_connect.h"
#include "reason.h"

#define ANSWER_MS 2000

/* One that the program starts is where the program is. */
void check_keeper_get(struct check_keeper *ret)
{
	pid_t pid = getpid();

	ret->socket = config_get()->keeper;
	if (ret->socket &&
	    keeper_find_listener(ret->socket, ANSWER_MS, &pid) < 0)
		snprintf(ret->problem, sizeof(ret->problem), "%s",
			 reason_text());
	else
		fate_find(pid, ret->shared_fate, sizeof(ret->shared_fate));
}
