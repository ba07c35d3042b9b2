/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "config.h"
#include "keeper_connect.h"
#include "reason.h"

#define ANSWER_MS 2000

static bool is_in(const char *folder, const char *below)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s/daxmr-keeper", folder,
			 below);

	return n < (int)sizeof(path) && !access(path, X_OK);
}

/* Where the library of the same tree finds it. */
static bool is_there(void)
{
	char folder[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	folder[n > 0 ? n : 0] = '\0';
	if (n > 0)
		*strrchr(folder, '/') = '\0';
	return (n > 0 &&
		(is_in(folder, ".") || is_in(folder, KEEPER_RELATIVE_DIR))) ||
	       is_in("", KEEPER_DIR);
}

/* One that the program starts is where the program is. */
void check_keeper_get(struct check_keeper *ret)
{
	pid_t pid = getpid();

	ret->socket = config_get()->keeper;
	if (ret->socket &&
	    keeper_find_listener(ret->socket, ANSWER_MS, &pid) < 0)
		snprintf(ret->problem, sizeof(ret->problem), "%s",
			 reason_text());
	else if (!ret->socket && !is_there())
		snprintf(ret->problem, sizeof(ret->problem),
			 "daxmr-keeper is missing: neither beside daxmr nor in "
			 "%s; build or install it",
			 KEEPER_DIR);
	else
		fate_find(pid, ret->shared_fate, sizeof(ret->shared_fate));
}
