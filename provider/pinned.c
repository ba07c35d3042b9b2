/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pinned regions come and go: pinned.h.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "config.h"
#include "gate/gate_pd.h"
#include "gate/gate_window.h"
#include "leases.h"
#include "pinned_parts.h"
#include "quiet.h"
#include "reason.h"
#include "refusal.h"
#include "region_parts.h"
#include "shadows.h"

/* Keys that are promised are tried so often not to be had again. */
#define KEY_TRIES 16

/* A file that is given back has nothing to be written. */
#define GIVE_BACK_NS (1000000000LL)

/* How many are listed, for who has to do with anything else. */
static atomic_uint regions;

void pinned_forget_all(void)
{
	pinned_all = NULL;
	atomic_store(&regions, 0);
}

bool pinned_are_there(void)
{
	return atomic_load_explicit(&regions, memory_order_acquire);
}

/* Without them nothing could be drained. */
static atomic_bool has_hooks;

void pinned_has_hooks(void)
{
	atomic_store(&has_hooks, true);
}

static struct ibv_mr *make_mr(const struct pinned *pinned, size_t length)
{
	const struct real_verbs *real = pinned->real;
	unsigned int access = pinned_mr_access(pinned);

	if (real->reg_mr_iova2)
		return real->reg_mr_iova2(pinned->pd, pinned->addr, length,
					  pinned->iova, access);
	if (pinned->iova == (uintptr_t)pinned->addr)
		return real->reg_mr(pinned->pd, pinned->addr, length,
				    (int)access);
	return real->reg_mr_iova(pinned->pd, pinned->addr, length, pinned->iova,
				 (int)access);
}

struct ibv_mr *pinned_make_mr(const struct pinned *pinned, size_t length)
{
	struct ibv_mr *tried[KEY_TRIES], *mr;
	unsigned int n = 0;
	int saved_errno;

	/* Each keeps the key that it must not have until there is another. */
	while ((mr = make_mr(pinned, length)) && pinned_has_key(mr) &&
	       n < KEY_TRIES)
		tried[n++] = mr;
	saved_errno = errno;
	if (mr && n == KEY_TRIES) {
		pinned->real->dereg_mr(mr);
		mr = NULL;
		saved_errno = EAGAIN;
	}
	while (n)
		pinned->real->dereg_mr(tried[--n]);
	errno = saved_errno;
	return mr;
}

bool pinned_has_key(const struct ibv_mr *mr)
{
	return pinned_are_there() && gate_key_is_taken(mr->context, mr->lkey);
}

void pinned_show(struct pinned *pinned)
{
	uint32_t rkey = pinned->mr ? pinned->mr->rkey : 0;

	if (pinned_is_programs(pinned))
		__atomic_store_n(&pinned->seen->mr.lkey,
				 pinned->mr ? pinned->mr->lkey : 0,
				 __ATOMIC_RELAXED);
	if (pinned->mr)
		pinned->seen->mr.handle = pinned->mr->handle;
	if (pinned->key.mw)
		rkey = pinned->key.rkey;
	__atomic_store_n(&pinned->seen->mr.rkey, rkey, __ATOMIC_RELAXED);
}

static void list(struct pinned *pinned)
{
	struct pinned_locked locked;
	pinned_lock_take(&locked);
	pinned->next = pinned_all;
	pinned_all = pinned;
	atomic_fetch_add(&regions, 1);
	pinned_lock_give(&locked);
}

static void unlist(const struct pinned *pinned)
{
	struct pinned_locked locked;
	struct pinned **at = &pinned_all;

	pinned_lock_take(&locked);
	while (*at && *at != pinned)
		at = &(*at)->next;
	if (*at) { /* else it is the parent's */
		*at = pinned->next;
		atomic_fetch_sub(&regions, 1);
	}
	pthread_cond_broadcast(&pinned_changed);
	pinned_lock_give(&locked);
}

static int acquire(struct pinned *pinned)
{
	struct lease_want want = {
		.fd = -1,
		.addr = (uintptr_t)pinned->addr,
		.type = LEASE_TYPE_AUTO,
		.offset = pinned->file.offset,
		.length = pinned->length,
	};
	struct lease_engine *engine;
	int r = leases_start(&engine);

	return r ? r : lease_acquire(engine, &want, &pinned->lease);
}

/* The program may map something else there meanwhile. */
static int check_lease(const struct pinned *pinned)
{
	size_t there;
	dev_t dev;
	ino_t ino;

	lease_file(pinned->lease, &dev, &ino);
	if (pinned_is_of(pinned, dev, ino) &&
	    !pinned_still_there(pinned, &there) && there == pinned->length)
		return 0;
	return reason_set(-EAGAIN, "what is mapped there changes all the time");
}

static void give_back(struct pinned *pinned)
{
	lease_release(pinned->lease, pinned->file.offset, pinned->length,
		      clock_now_ns() + GIVE_BACK_NS);
}

/*
 * Another region's lease may just be away, and a call of the program's may just
 * cut the file off. When this returns 0 others wait for the region.
 */
static int wait_until_free(struct pinned *pinned)
{
	int64_t until_ns = clock_now_ns() + pinned->quiesce_ns;
	bool is_own = false, is_free = false;
	struct pinned_locked locked;
	int r = 0;

	pinned_lock_take(&locked);
	while (!is_free && !r) {
		/* It has no MR that would be in somebody's way. */
		if (pinned->is_asked) {
			pinned->is_asked = false;
			pthread_mutex_unlock(&pinned_lock);
			lease_news_consent(&pinned->listener);
			pthread_mutex_lock(&pinned_lock);
		}
		is_own = pinned_own_is_there_locked(pinned);
		is_free = pinned->is_held && !is_own;
		if (!is_free)
			r = pinned_wait_locked(until_ns);
	}
	pinned->is_entering = !is_free;
	pinned_lock_give(&locked);
	if (is_free)
		return 0;
	return reason_set_kind(REASON_BUSY, -EBUSY,
			       is_own ? "the program itself changes %s now"
				      : "others have %s now",
			       pinned->file.name);
}

/* Device and program would not see the same bytes. */
static int check_shadows(const struct pinned *pinned)
{
	if (!shadows_has_file(leases_engine(), pinned->file.dev,
			      pinned->file.ino))
		return 0;
	return reason_set(-EBUSY,
			  "%s has regions that are staged: deregister those "
			  "first, or register this one as staged too",
			  pinned->file.name);
}

/*
 * 0 or a positive errno. Whoever calls has begun it. The key is promised by
 * whoever gets it from the device next: before that ours is forgotten. One that
 * is not the device's nobody gets as long as it is promised. The window is in
 * the way, and peers reach nothing from then on, whatever becomes of the MR.
 */
int pinned_drop_mr(struct pinned *pinned)
{
	uint32_t lkey = pinned->seen->mr.lkey;
	bool is_promised = !pinned_is_programs(pinned);
	bool is_devices = is_promised && pinned->mr && pinned->mr->lkey == lkey;
	int r;

	window_key_close(&pinned->key);
	if (is_devices)
		gate_key_forget(pinned->context, lkey);
	r = pinned->mr ? pinned->real->dereg_mr(pinned->mr) : 0;
	if (r && is_devices)
		gate_key_promise(pinned->context, lkey, lkey);
	if (r) { /* the window's key is nobody's any more */
		pinned_show(pinned);
		return r;
	}
	if (is_promised && !is_devices)
		gate_key_forget(pinned->context, lkey);
	pinned->mr = NULL;
	return 0;
}

/* To bind a window the kernel wants pages that a device may write to. */
static bool is_for_the_window(const struct pinned *pinned, int error)
{
	return error == EFAULT && pinned->key.mw && pinned->file.is_read_only &&
	       !(pinned->access & REGION_WRITABLE);
}

/* For which the kernel says EINVAL, whatever the memory. */
static bool is_for_peers_alone(const struct pinned *pinned)
{
	const unsigned int peers =
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;

	return pinned->access & peers &&
	       !(pinned->access & IBV_ACCESS_LOCAL_WRITE);
}

static int explain_unpinned(const struct pinned *pinned, int error)
{
	const char *name = strerrordesc_np(error);
	int r = error ? -error : -EIO;

	if (is_for_the_window(pinned, error))
		return reason_set_kind(
			REFUSAL_WINDOW, r,
			"keys=window wants a memory window, and pages that "
			"can be written (%s): map it PROT_WRITE, or, from "
			"Linux 6.2 on, keys=change",
			name);
	if (error == ENOMEM)
		return reason_set_kind(
			REFUSAL_LOCKED, r,
			"the kernel pins no more (%s): mostly the limit on "
			"locked memory (ulimit -l, LimitMEMLOCK=)",
			name);
	if (error == EINVAL && is_for_peers_alone(pinned))
		return reason_set_kind(
			REFUSAL_KERNEL, r,
			"peers may write only where the device may by itself "
			"(%s): add IBV_ACCESS_LOCAL_WRITE",
			name);
	if (error == EINVAL && !pinned->file.is_dax)
		return reason_set_kind(REFUSAL_KERNEL, r,
				       "the device refuses it (%s): mostly for "
				       "its access flags, %#x",
				       name, pinned->access);
	return reason_set_kind(
		REFUSAL_KERNEL, r,
		"the kernel refused to pin its pages (%s); leave the strategy "
		"to daxmr (auto), which needs no pin",
		name);
}

/* The program's own call for the first time. */
static int make_first(struct pinned *pinned, const struct region_call *call)
{
	int r;

	errno = 0;
	pinned->mr = call->original(call, pinned_mr_access(pinned));
	if (!pinned->mr)
		return explain_unpinned(pinned, errno);
	if (pinned_has_key(pinned->mr)) {
		struct ibv_mr *other = pinned_make_mr(pinned, pinned->length);

		pinned->real->dereg_mr(pinned->mr);
		pinned->mr = other;
		if (!other)
			return reason_set(-errno,
					  "no MR with a key of its own "
					  "can be had (%s)",
					  strerrordesc_np(errno));
	}
	pinned->registered = pinned->length;
	pinned->seen->mr = *pinned->mr;
	r = pinned_promise(pinned, pinned->mr);
	if (r) {
		gate_key_forget(pinned->context, pinned->mr->lkey);
		pinned->real->dereg_mr(pinned->mr);
		pinned->mr = NULL;
		return reason_set(r, "no memory to remember its key");
	}
	return 0;
}

/* The same, with a window before it where the rkey is to stay. */
static int make_first_and_key(struct pinned *pinned,
			      const struct region_call *call)
{
	int r = pinned_key_open(pinned, call);

	if (r)
		return r;
	r = make_first(pinned, call);
	if (!r)
		r = pinned_key_bind(pinned, pinned->mr, pinned->length);
	if (!r) {
		pinned_show(pinned);
		return 0;
	}
	window_key_close(&pinned->key);
	if (pinned->mr)
		pinned_drop_mr(pinned);
	return r;
}

static int take_gate(struct pinned *pinned)
{
	int r = pinned_start();

	if (r)
		return reason_set(r, "no thread to watch over it: %s",
				  strerrordesc_np(-r));
	if (pinned_is_programs(pinned))
		return 0;
	r = gate_attach(pinned->context, &pinned->real->gate);
	if (r)
		return reason_set(r, "the work of %s cannot be held up: %s",
				  pinned->context->device->name,
				  strerrordesc_np(-r));
	return 0;
}

/* Listens from before the MR is there: what happens meanwhile is not missed. */
static int enter(struct pinned *pinned, const struct region_call *call)
{
	int r;

	pinned->is_held = true;
	pinned->is_busy = true;
	pinned->is_entering = true;
	list(pinned);
	r = lease_news_listen(&pinned->listener, pinned->lease);
	if (!r)
		r = wait_until_free(pinned);
	if (!r)
		r = check_shadows(pinned);
	if (!r)
		r = make_first_and_key(pinned, call);
	if (!r) {
		pinned_end(pinned);
		return 0;
	}
	lease_news_unlisten(&pinned->listener);
	unlist(pinned);
	return r;
}

static void free_pinned(struct pinned *pinned)
{
	free(pinned->seen);
	free(pinned);
}

static struct pinned *new_pinned(const struct region_call *call)
{
	struct pinned *pinned = calloc(1, sizeof(*pinned));

	if (!pinned)
		return NULL;
	pinned->seen = calloc(1, sizeof(*pinned->seen));
	if (!pinned->seen) {
		free(pinned);
		return NULL;
	}
	pinned->real = call->real;
	pinned->context = call->pd->context;
	pinned->pd = call->pd;
	pinned->addr = call->addr;
	pinned->length = call->length;
	pinned->iova = call->iova;
	pinned->access = call->access & ~(unsigned int)IBV_ACCESS_ON_DEMAND;
	pinned->listener.changed = pinned_hear;
	pinned->listener.asked = pinned_hear_asked;
	pinned->on_recall = call->options ? call->options->on_recall
					  : config_get()->on_recall;
	pinned->keys = call->options ? call->options->keys : config_get()->keys;
	pinned->quiesce_ns = (call->options ? call->options->quiesce_ms
					    : config_get()->quiesce_ms) *
			     1000000LL;
	pinned->listener.consent_ns = pinned->quiesce_ns;
	return pinned;
}

struct lease *pinned_lease(const struct pinned *pinned)
{
	return pinned->lease;
}

void pinned_listen(struct pinned *pinned, struct pinned_ear *ear)
{
	struct pinned_locked locked;
	sigset_t signals;

	if (pinned->is_dead) /* nobody tells anything of it */
		return;
	quiet_begin(&signals);
	pinned_begin(pinned);
	pinned_lock_take(&locked);
	pinned->ear = ear;
	pinned_ask_locked(pinned);
	pinned_lock_give(&locked);
	pinned_end(pinned);
	quiet_end(&signals);
}

void pinned_tell(struct pinned *pinned, enum pinned_news news, uint64_t blocks,
		 int error)
{
	if (pinned->ear)
		pinned->ear->tell(pinned->ear, news, blocks, error);
}

/* Its context is still there. */
static void leave_device(struct pinned *pinned)
{
	pinned_gate_open(pinned);
	if (pinned_is_programs(pinned))
		return;
	pinned_windows_leave(pinned);
	gate_detach(pinned->context);
}

bool pinned_may_be_bound(const struct pinned *pinned, unsigned int access)
{
	return !(access & IBV_ACCESS_MW_BIND) || !pinned_is_programs(pinned);
}

static int check_access(const struct pinned *pinned)
{
	if (pinned_may_be_bound(pinned, pinned->access))
		return 0;
	return reason_set(-EOPNOTSUPP,
			  "a window that is bound to it would keep it from "
			  "others who want the file, and those of a program "
			  "that is asked are not seen; leave "
			  "IBV_ACCESS_MW_BIND out");
}

static int check_hooks(const struct pinned *pinned)
{
	if (pinned_is_programs(pinned) || atomic_load(&has_hooks))
		return 0;
	return reason_set(-EOPNOTSUPP,
			  "the work on its QPs is not seen: run the program by "
			  "`daxmr run`, or let it be asked (on_recall, "
			  "DAXMR_ON_RECALL_ASK)");
}

/* On nothing that could be recalled. It is begun. */
static int carry(struct pinned *pinned, const struct region_call *call)
{
	int r;

	pinned->is_held = true;
	pinned->is_busy = true;
	list(pinned);
	r = make_first_and_key(pinned, call);
	if (r)
		unlist(pinned);
	else
		pinned_end(pinned);
	return r;
}

int pinned_carry(const struct region_call *call, bool is_keyed,
		 struct pinned **ret)
{
	struct pinned *pinned = new_pinned(call);
	int saved_errno = errno, r;
	sigset_t signals;

	if (!pinned)
		return reason_set(-ENOMEM, "no memory for one region more");
	pinned->is_plain = true;
	pinned->is_keyed = is_keyed;
	r = check_hooks(pinned);
	if (!r)
		r = check_access(pinned);
	if (!r)
		r = pinned_key_check(pinned, call);
	if (!r)
		pinned->keeps_windows =
			pinned_windows_test(pinned, pinned->access);
	if (!r)
		r = take_gate(pinned);
	if (!r) {
		quiet_begin(&signals);
		r = carry(pinned, call);
		quiet_end(&signals);
		if (r)
			leave_device(pinned);
	}
	if (r)
		free_pinned(pinned);
	else
		*ret = pinned;
	errno = saved_errno;
	return r;
}

int pinned_register(const struct region_call *call, struct pinned **ret,
		    struct ibv_mr **ret_mr)
{
	struct pinned *pinned = new_pinned(call);
	int saved_errno = errno, r;
	sigset_t signals;

	if (!pinned)
		return reason_set(-ENOMEM, "no memory for one region more");
	r = check_hooks(pinned);
	if (!r)
		r = check_access(pinned);
	if (!r && gate_pd_is_imported(pinned->pd))
		r = reason_set(-EOPNOTSUPP,
			       "its PD was imported (ibv_import_pd): the work "
			       "on it of the context it came from is not seen");
	if (!r)
		r = pinned_find_file((uintptr_t)call->addr,
				     (uintptr_t)call->addr + call->length,
				     &pinned->file);
	if (!r)
		r = pinned_key_check(pinned, call);
	if (!r)
		pinned->keeps_windows =
			pinned_windows_test(pinned, pinned->access);
	if (!r)
		r = take_gate(pinned);
	if (r)
		goto free_it;
	r = acquire(pinned);
	if (r)
		goto detach;
	quiet_begin(&signals);
	r = check_lease(pinned);
	if (!r)
		r = enter(pinned, call);
	quiet_end(&signals);
	if (r)
		goto release;
	errno = saved_errno;
	*ret = pinned;
	*ret_mr = &pinned->seen->mr;
	return 0;
release:
	give_back(pinned);
detach:
	leave_device(pinned);
free_it:
	free_pinned(pinned);
	errno = saved_errno;
	return r;
}

/* Nothing of it is in the way of others any more. It is begun, and gone. */
static void leave_file(struct pinned *pinned)
{
	unlist(pinned);
	if (pinned->is_plain)
		return;
	lease_news_unlisten(&pinned->listener);
	if (!pinned->ear) /* which hears of the lease, too */
		give_back(pinned);
}

void pinned_leave(struct pinned *pinned)
{
	leave_device(pinned);
	leave_file(pinned);
	free_pinned(pinned);
}

int pinned_deregister(struct pinned *pinned)
{
	int saved_errno = errno, r = 0;
	sigset_t signals;

	quiet_begin(&signals);
	if (!pinned->is_dead) {
		pinned_begin(pinned);
		r = pinned_drop_mr(pinned);
		if (r) {
			pinned_end(pinned);
		} else {
			leave_device(pinned);
			leave_file(pinned);
		}
	} else if (pinned->ear) {
		give_back(pinned);
	}
	quiet_end(&signals);
	if (!r)
		free_pinned(pinned);
	errno = saved_errno;
	return r;
}

bool pinned_has_pd(const struct ibv_pd *pd)
{
	struct pinned_locked locked;
	const struct pinned *pinned;

	if (!pinned_are_there())
		return false;
	pinned_lock_take(&locked);
	for (pinned = pinned_all; pinned && pinned->pd != pd;)
		pinned = pinned->next;
	pinned_lock_give(&locked);
	return pinned;
}

static struct pinned *first_alive_of(const struct ibv_context *context)
{
	struct pinned_locked locked;
	struct pinned *pinned;

	pinned_lock_take(&locked);
	for (pinned = pinned_all;
	     pinned && (pinned->context != context || pinned->is_dead);)
		pinned = pinned->next;
	pinned_lock_give(&locked);
	return pinned;
}

static void die(struct pinned *pinned)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	pinned->is_dead = true;
	pinned_lock_give(&locked);
}

struct pinned *pinned_context_closing(const struct ibv_context *context)
{
	struct pinned *pinned, *left = NULL;
	int saved_errno = errno;
	sigset_t signals;

	quiet_begin(&signals);
	while (pinned_are_there() && (pinned = first_alive_of(context))) {
		pinned_begin(pinned);
		die(pinned);
		if (pinned_drop_mr(pinned)) {
			/* nobody else has it until the device is gone */
			pinned->also = left;
			left = pinned;
			leave_device(pinned);
		} else {
			leave_device(pinned);
			leave_file(pinned);
		}
	}
	quiet_end(&signals);
	errno = saved_errno;
	return left;
}

void pinned_context_closed(struct pinned *left)
{
	int saved_errno = errno;
	struct pinned *also;

	for (; left; left = also) {
		also = left->also;
		left->mr = NULL;
		leave_file(left);
	}
	errno = saved_errno;
}

int pinned_reregister(struct pinned *pinned, int flags, struct ibv_pd *pd,
		      int access)
{
	struct pinned before;
	struct ibv_mr *mr = NULL;
	bool keeps_windows = flags & IBV_REREG_MR_CHANGE_ACCESS &&
			     pinned_windows_test(pinned, (unsigned int)access);
	sigset_t signals;
	int r = 0;

	quiet_begin(&signals);
	pinned_begin(pinned);
	pinned->keeps_windows |= keeps_windows;
	before = *pinned;
	if (flags & IBV_REREG_MR_CHANGE_PD)
		pinned->pd = pinned->seen->mr.pd = pd;
	if (flags & IBV_REREG_MR_CHANGE_ACCESS)
		pinned->access =
			(unsigned int)access & ~(unsigned)IBV_ACCESS_ON_DEMAND;
	if (pinned->mr) {
		errno = 0;
		mr = pinned_make_mr(pinned, pinned->registered);
		r = mr ? 0 : errno ? errno : EIO;
	}
	/* No other MR is to have the key that the program goes on to use. */
	if (mr)
		r = -pinned_promise(pinned, NULL);
	if (mr && !r) {
		r = pinned->real->dereg_mr(before.mr);
		if (r) { /* with what may be bound to it */
			pinned->access = before.access;
			pinned_promise(pinned, before.mr);
			r = pinned_may_have_window(pinned) ? EBUSY : r;
		}
	}
	if (mr && !r) {
		pinned->mr = mr;
		gate_windows_gone(&pinned->seen->mr);
		pinned_promise(pinned, mr);
		pinned_show(pinned);
	} else if (mr) {
		pinned->real->dereg_mr(mr);
	}
	if (r) {
		pinned->pd = pinned->seen->mr.pd = before.pd;
		pinned->access = before.access;
	} else if (pinned->pd != before.pd) { /* they are of that one */
		pinned_gate_open(pinned);
		if (!pinned_is_programs(pinned))
			pinned_windows_leave(pinned);
		pinned_promise(pinned, pinned->mr);
	}
	pinned_end(pinned);
	quiet_end(&signals);
	errno = r ? r : errno;
	return r ? IBV_REREG_MR_ERR_INPUT : 0;
}
