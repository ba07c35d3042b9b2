/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys=window: the rkey of a pinned region is that of a window (window_key.h),
 * which is on its MR, on nothing while that is away, and on the next one then.
 *
 * A window that cannot be bound to nothing goes, and the key with it: what
 * peers were told reaches nothing any more, so they are severed. From then on
 * the region is one of keys=change.
 */
#include <errno.h>

#include "clock.h"
#include "pinned_parts.h"

#define POLICY "keys=window"

/* Memory that is no file's has one only where a key came along. */
static bool wants_window(const struct pinned *pinned, unsigned int access)
{
	return pinned->keys == KEYS_WINDOW &&
	       (!pinned->is_plain || pinned->is_keyed) &&
	       window_key_is_due(access);
}

bool pinned_keeps_key(const struct pinned *pinned)
{
	return wants_window(pinned, pinned->access);
}

bool pinned_would_keep_key(const struct pinned *pinned, unsigned int access)
{
	return wants_window(pinned, access);
}

bool pinned_has_window(const struct pinned *pinned)
{
	return pinned->key.mw;
}

int pinned_key_check(const struct pinned *pinned,
		     const struct region_call *call)
{
	return wants_window(pinned, call->access)
		       ? window_key_check(call, POLICY)
		       : 0;
}

int pinned_key_open(struct pinned *pinned, const struct region_call *call)
{
	return wants_window(pinned, call->access)
		       ? window_key_open(&pinned->key, call, POLICY)
		       : 0;
}

unsigned int pinned_mr_access(const struct pinned *pinned)
{
	return pinned->key.mw ? window_mr_access(pinned->access)
			      : pinned->access;
}

int pinned_key_bind(struct pinned *pinned, struct ibv_mr *mr, size_t length)
{
	int r;

	if (!pinned->key.mw)
		return 0;
	r = window_key_bind(&pinned->key, mr, pinned->iova, length,
			    clock_now_ns() + pinned->quiesce_ns);
	return window_key_explain(r, length, &pinned->key, POLICY);
}

/* What comes last has a moment in any case: the drain may have been long. */
static int64_t unbind_until(const struct pinned *pinned)
{
	int64_t least_ns = clock_now_ns() + pinned->quiesce_ns / 4;
	struct pinned_locked locked;
	int64_t until_ns;

	pinned_lock_take(&locked);
	until_ns = pinned->deadline_ns;
	pinned_lock_give(&locked);
	return until_ns > least_ns ? until_ns : least_ns;
}

/* Of both, who has them; nothing: NULL. */
static int put_key(const struct pinned *pinned, struct pinned *old,
		   const struct pinned *on)
{
	int64_t until_ns = clock_now_ns() + old->quiesce_ns / 2;
	const struct pinned *any = old->mr ? old : pinned;

	if (on && on->mr && !pinned_others_have_it(on)) {
		struct window_key key = old->key;

		/* Peers may do what the region says that it is on. */
		key.remote = on->key.remote;
		return window_key_bind(&key, on->mr, on->iova, on->registered,
				       until_ns);
	}
	/* Where the old one has no MR it is on nothing as yet. */
	if (!any->mr || !any->key.mw)
		return 0;
	return window_key_bind(&old->key, any->mr, any->iova, 0, until_ns);
}

int pinned_key_pass(const struct pinned *pinned, struct pinned *old)
{
	if (!old->key.mw)
		return 0;
	return put_key(pinned, old, pinned->key.mw ? pinned : NULL);
}

int pinned_key_pass_back(const struct pinned *pinned, struct pinned *old)
{
	int r = old->key.mw ? put_key(pinned, old, old) : 0;

	if (r)
		window_key_close(&old->key);
	pinned_show(old);
	return r ? -ENOKEY : 0;
}

int pinned_key_unbind(struct pinned *pinned, struct ibv_mr *mr)
{
	int r;

	if (!pinned->key.mw)
		return 0;
	r = window_key_clear(&pinned->key, mr, pinned->iova,
			     unbind_until(pinned));
	if (r || pinned->key.mw)
		return r;
	window_key_close(&pinned->key);
	return -ENOKEY;
}
