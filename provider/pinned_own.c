/* SPDX-License-Identifier: BSD-2-Clause */
#include <time.h>

#include "clock.h"
#include "pinned_own.h"
#include "pinned_parts.h"

static struct pinned_own *owns; /* under the lock */

bool pinned_own_is_there_locked(const struct pinned *pinned)
{
	const struct pinned_own *own = owns;

	while (own && !pinned_is_of(pinned, own->dev, own->ino))
		own = own->next;
	return own;
}

void pinned_own_forget_all(void)
{
	owns = NULL;
}

static void list_locked(struct pinned_own *own, dev_t dev, ino_t ino)
{
	*own = (struct pinned_own){.dev = dev, .ino = ino, .next = owns};
	owns = own;
}

static struct pinned *first_of_file_locked(dev_t dev, ino_t ino)
{
	struct pinned *pinned = pinned_all;

	while (pinned && !pinned_is_of(pinned, dev, ino))
		pinned = pinned->next;
	return pinned;
}

/* The MR of one of them is there, or is being made. */
static bool are_in_the_way_locked(dev_t dev, ino_t ino)
{
	const struct pinned *pinned = pinned_all;

	while (pinned &&
	       !(pinned_is_of(pinned, dev, ino) && !pinned->is_entering &&
		 (pinned->is_busy || pinned->mr)))
		pinned = pinned->next;
	return pinned;
}

void pinned_own_begin(struct pinned_own *own, dev_t dev, ino_t ino)
{
	int64_t now_ns = clock_now_ns(), until_ns = now_ns;
	struct pinned *pinned;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	list_locked(own, dev, ino);
	for (pinned = pinned_all; pinned; pinned = pinned->next) {
		if (!pinned_is_of(pinned, dev, ino))
			continue;
		pinned->leave_ns = now_ns;
		if (until_ns < now_ns + pinned->quiesce_ns)
			until_ns = now_ns + pinned->quiesce_ns;
		/* Else it has one, of those who wait for it. */
		if (pinned->is_held && !pinned->is_stuck)
			pinned->deadline_ns = now_ns + pinned->quiesce_ns;
	}
	pthread_cond_broadcast(&pinned_changed);
	while (are_in_the_way_locked(dev, ino) &&
	       pinned_wait_locked(until_ns) == 0)
		;
	pinned_lock_give(&locked);
}

bool pinned_own_try(struct pinned_own *own, dev_t dev, ino_t ino)
{
	struct pinned_locked locked;
	bool is_free;

	pinned_lock_take(&locked);
	is_free = !first_of_file_locked(dev, ino);
	if (is_free)
		list_locked(own, dev, ino);
	pinned_lock_give(&locked);
	return is_free;
}

void pinned_own_end(struct pinned_own *own)
{
	struct pinned_own **at = &owns;
	struct pinned *pinned;
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	while (*at && *at != own)
		at = &(*at)->next;
	if (*at) /* else it is the parent's */
		*at = own->next;
	for (pinned = pinned_all; pinned; pinned = pinned->next)
		if (pinned_is_of(pinned, own->dev, own->ino))
			pinned->is_tried = false;
	pthread_cond_broadcast(&pinned_changed);
	pinned_lock_give(&locked);
}
