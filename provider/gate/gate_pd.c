/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "gate_mark.h"
#include "gate_pd.h"

/* With the gate's lock. */
static struct imported {
	const struct ibv_pd *pd;
	const struct ibv_context *context;
	uint32_t handle;
	struct imported *next;
} * all;
static bool are_unknown;

void gate_pd_imported(struct ibv_pd *pd)
{
	int saved_errno = errno;
	struct imported *added = malloc(sizeof(*added));
	struct gate_locked locked;

	/* from then on the lock is held across forks */
	gate_mark_init();
	gate_lock(&locked);
	if (added) {
		*added = (struct imported){pd, pd->context, pd->handle, all};
		all = added;
	} else {
		are_unknown = true;
	}
	gate_unlock(&locked);
	errno = saved_errno;
}

static struct imported **find_locked(const struct ibv_pd *pd)
{
	struct imported **at = &all;

	while (*at && (*at)->pd != pd)
		at = &(*at)->next;
	return at;
}

bool gate_pd_going(const struct ibv_pd *pd)
{
	struct imported **at, *gone;
	struct gate_locked locked;
	bool was_imported;

	gate_lock(&locked);
	at = find_locked(pd);
	gone = *at;
	was_imported = gone;
	if (gone)
		*at = gone->next;
	gate_unlock(&locked);
	free(gone);
	return was_imported;
}

bool gate_pd_is_imported(const struct ibv_pd *pd)
{
	const struct imported *imported;
	struct gate_locked locked;
	bool is_imported;

	gate_lock(&locked);
	for (imported = all; imported && (imported->context != pd->context ||
					  imported->handle != pd->handle);)
		imported = imported->next;
	is_imported = are_unknown || imported;
	gate_unlock(&locked);
	return is_imported;
}

void gate_pd_forget_locked(const struct ibv_context *context)
{
	struct imported **at = &all, *gone;

	while ((gone = *at)) {
		if (gone->context != context) {
			at = &gone->next;
			continue;
		}
		*at = gone->next;
		free(gone);
	}
}
