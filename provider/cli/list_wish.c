/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Of which processes something is to be shown: list.h.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "list.h"

int list_wish_read(char **texts, size_t count, struct list_wish *ret)
{
	struct list_wish wish = {
		.pid = calloc(count + 1, sizeof(*wish.pid)),
		.count = count,
	};
	char *end;

	if (!wish.pid) {
		cli_error("no memory");
		return CLI_USAGE;
	}
	for (size_t i = 0; i < count; i++) {
		long pid = strtol(texts[i], &end, 10);

		if (*end || end == texts[i] || pid < 1 || pid > INT_MAX) {
			list_wish_free(&wish);
			return cli_usage_error("%s is not the number of a "
					       "process",
					       texts[i]);
		}
		wish.pid[i] = (pid_t)pid;
	}
	*ret = wish;
	return CLI_OK;
}

void list_wish_free(struct list_wish *wish)
{
	free(wish->pid);
	*wish = (struct list_wish){0};
}

int list_say(int error)
{
	cli_error("what programs share (/proc/sysvipc/shm) cannot be listed: "
		  "%s",
		  strerrordesc_np(-error));
	return CLI_USAGE;
}
