/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ibv_rereg_mr() of a pinned region onto something else.
 *
 *   what it moves to is registered, as a region of its own
 *     --> the old MR goes --> the program's struct ibv_mr is the new one's
 *
 * That asks nothing of the device but what registrations do: many cannot
 * change the translation of an MR. Both are registered for a moment, and count
 * against RLIMIT_MEMLOCK.
 *
 * With keys=window the new one has a window as any has, so that all a device
 * may refuse is known before anything changes. Then the old one's is bound to
 * the new MR, which takes it off the old one, and the other goes: the rkey that
 * peers were told stays.
 *
 * The program has nothing outstanding while it calls, so no gate is closed.
 * Either may be in a recall, and both are had to the end of it: at once, as
 * one that is had while the other is waited for could be in somebody's way.
 */
#include <errno.h>

#include "gate/gate_window.h"
#include "pinned_parts.h"
#include "reason.h"

static bool has_window_in(const struct pinned *pinned,
			  enum gate_window_state state)
{
	struct gate_window *window =
		gate_window_next(&pinned->seen->mr, state, NULL);

	if (window)
		gate_window_unuse(window);
	return window;
}

bool pinned_may_have_window(const struct pinned *pinned)
{
	return has_window_in(pinned, GATE_WINDOW_ON) ||
	       has_window_in(pinned, GATE_WINDOW_PAST);
}

static int explain_kept(const struct pinned *old, int error)
{
	if (pinned_may_have_window(old))
		return reason_set(-EBUSY, "windows are bound to it");
	return reason_set(-error, "the device does not deregister it (%s)",
			  strerrordesc_np(error));
}

/* 0 or -errno. It is begun. */
static int check_free(const struct pinned *pinned)
{
	if (pinned->ear)
		return reason_set(-EOPNOTSUPP,
				  "it is of daxmr_reg_mr(), whose region it "
				  "would leave: deregister it and register "
				  "another");
	/* The device knows of those that are on it. */
	if (has_window_in(pinned, GATE_WINDOW_OFF))
		return reason_set(-EBUSY, "windows are bound to it");
	return 0;
}

/* Binds that the program posts go with this region's MR. */
static int promise_binds(const struct pinned *pinned, const struct ibv_mr *seen)
{
	if (pinned_is_programs(pinned))
		return 0;
	return gate_mr_promise(pinned->context, seen, pinned->mr,
			       pinned->access & IBV_ACCESS_MW_BIND);
}

/* The MR goes, and the key that stays does not. */
static int drop_mr(struct pinned *old)
{
	struct window_key key = old->key;
	int r;

	old->key = (struct window_key){0};
	r = pinned_drop_mr(old);
	old->key = key;
	return r ? explain_kept(old, r) : 0;
}

/* The one that peers know, if both have one; the other goes. */
static void take_key(struct pinned *pinned, struct pinned *old)
{
	struct window_key key = old->key;

	if (key.mw && pinned->key.mw) {
		key.remote = pinned->key.remote;
		old->key = pinned->key;
		pinned->key = key;
		pinned_show(pinned);
	}
	window_key_close(&old->key);
}

/* The old one's MR goes, and the program's struct is the other's. */
static int take_over(struct pinned *pinned, struct pinned *old)
{
	union pinned_seen *seen = old->seen;
	int r = promise_binds(pinned, &seen->mr), lost;

	if (r)
		return reason_set(r, "no memory to remember its binds");
	r = pinned_key_pass(pinned, old);
	if (!r)
		r = drop_mr(old);
	if (r) {
		promise_binds(old, &seen->mr); /* there is memory for that */
		lost = pinned_key_pass_back(pinned, old);
		return lost ? lost : r;
	}
	take_key(pinned, old);
	gate_windows_gone(&seen->mr);
	/* Nothing but what the new region's own struct was promised. */
	old->seen = pinned->seen;
	pinned->seen = seen;
	seen->mr = old->seen->mr;
	return 0;
}

static int replace(struct pinned *pinned, struct pinned *old)
{
	int r;

	pinned_begin_both(old, pinned);
	r = check_free(old);
	if (!r)
		r = take_over(pinned, old);
	pinned_end(pinned);
	if (r)
		pinned_end(old);
	else
		pinned_leave(old);
	return r;
}

static struct ibv_mr *plain(const struct region_call *call, unsigned int access)
{
	const struct real_verbs *real = call->real;

	if (real->reg_mr_iova2)
		return real->reg_mr_iova2(call->pd, call->addr, call->length,
					  call->iova, access);
	if (call->iova == (uintptr_t)call->addr)
		return real->reg_mr(call->pd, call->addr, call->length,
				    (int)access);
	return real->reg_mr_iova(call->pd, call->addr, call->length, call->iova,
				 (int)access);
}

int pinned_move(struct pinned *pinned, const struct region_call *where,
		bool is_file, struct pinned **ret)
{
	const struct region_options options = {
		.on_recall = pinned->on_recall,
		.keys = pinned->keys,
		.quiesce_ms = (uint32_t)(pinned->quiesce_ns / 1000000),
	};
	struct region_call call = *where;
	int saved_errno = errno, r;
	struct pinned *other;
	struct ibv_mr *mr;
	sigset_t signals;

	call.original = plain;
	call.options = &options;
	if (is_file)
		r = pinned_register(&call, &other, &mr);
	else
		r = pinned_carry(&call, pinned_keeps_key(pinned), &other);
	if (r)
		return r;
	quiet_begin(&signals);
	r = replace(other, pinned);
	quiet_end(&signals);
	if (r)
		pinned_deregister(other);
	else
		*ret = other;
	errno = saved_errno;
	return r;
}
