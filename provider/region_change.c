/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ibv_rereg_mr(): the MR as it will be is routed like a new one. What it is
 * moved to is there before the call, what it is moved from goes after it.
 */
#include <errno.h>

#include "config.h"
#include "gate/gate_pd.h"
#include "log.h"
#include "mr_record.h"
#include "pinned.h"
#include "reason.h"
#include "region.h"
#include "region_parts.h"
#include "stats.h"
#include "window/window.h"

/* The MR that is changed, and what becomes of it. */
struct change {
	struct ibv_mr *mr;
	int flags; /* the program's own */
	struct ibv_pd *pd;
	void *addr;
	size_t length;
	void *old_addr;	      /* the program's */
	struct mr_record rec; /* as it will be */
	struct stage *old;    /* what it lies in now */
	bool is_known;	      /* has a record */
	bool is_reserved;     /* has one now, which is for what it moves to */
	struct memory_file file; /* is_moved(): there */
};

static bool is_moved(const struct change *change)
{
	return change->flags & IBV_REREG_MR_CHANGE_TRANSLATION;
}

static bool has_access(const struct change *change)
{
	return change->flags & IBV_REREG_MR_CHANGE_ACCESS;
}

/* Its access flags are not the program's own. */
static bool is_rerouted(enum strategy strategy)
{
	return strategy == STRATEGY_ODP || strategy == STRATEGY_STAGED;
}

/* 0, or the errno of a refusal, with its sentence. */
static int check_change(const struct change *change,
			const struct choice *choice)
{
	if (choice->route.strategy == STRATEGY_REFUSED) {
		log_sentence(LOG_WARN, "%s", choice->route.why);
		return choice->route.error;
	}
	if (choice->route.strategy == STRATEGY_PINNED) {
		log_sentence(LOG_WARN,
			     "ibv_rereg_mr onto a file, with the strategy "
			     "pinned: register it instead");
		return EOPNOTSUPP;
	}
	if (is_rerouted(choice->route.strategy) && !change->is_known &&
	    !has_access(change)) {
		log_sentence(LOG_WARN,
			     "ibv_rereg_mr onto a file of an MR whose access "
			     "flags daxmr has not seen: name them too "
			     "(IBV_REREG_MR_CHANGE_ACCESS)");
		return EINVAL;
	}
	return 0;
}

/* A shadow that nobody can write, on which the device has an alias (stage.h).
 */
static int check_alias(const struct change *change)
{
	if (!stage_alias(change->old) || is_moved(change) ||
	    !has_access(change) || !(change->rec.access & REGION_WRITABLE))
		return 0;
	log_sentence(LOG_WARN,
		     "ibv_rereg_mr of %zu bytes at %p: access flags %#x want "
		     "to write what is mapped without PROT_WRITE: map it with "
		     "PROT_READ | PROT_WRITE and register that",
		     change->mr->length, change->old_addr, change->rec.access);
	return EFAULT;
}

/* Its window, or the one that it would need. */
static void refuse_window(const struct change *change)
{
	log_sentence(LOG_WARN,
		     "ibv_rereg_mr of %zu bytes at %p: with on_shrink=error a "
		     "region cannot be changed, deregister it and register "
		     "another",
		     change->mr->length, change->old_addr);
}

/* A key of its MR would reach all of the shadow, wherever the file ends. */
static int check_window(const struct change *change, const struct stage *stage)
{
	if (!window_is_due(stage, change->rec.access))
		return 0;
	refuse_window(change);
	return EOPNOTSUPP;
}

/*
 * Whether the kernel pins a file of the page cache is known when it has been
 * asked; a change that failed for it would have taken the MR along.
 */
static void try_plain(const struct change *change,
		      const struct real_verbs *real, struct choice *choice)
{
	struct ibv_mr *mr;

	if (choice->route.strategy != STRATEGY_PASSTHROUGH ||
	    !(choice->memory.kinds & MEMORY_PAGECACHE_BITS))
		return;
	mr = real->reg_mr(change->pd, change->addr, change->length,
			  (int)change->rec.access);
	choice->question.kernel = mr ? 0 : errno;
	if (mr)
		real->dereg_mr(mr);
	choice_make(choice, real, change->mr->context);
}

/*
 * Routes the MR as it will be, like a new one: a translation that moves onto an
 * fs-dax file needs ON_DEMAND or a shadow, and new access flags must not take
 * away the ON_DEMAND that we added, nor promise what a shadow does not keep. A
 * shadow that it moves to is there when this returns. 0 or a positive errno.
 */
static int route_change(struct change *change, const struct real_verbs *real)
{
	bool moves = is_moved(change);
	struct choice choice;
	int error;

	choice_open(&choice, moves ? change->addr : change->mr->addr,
		    moves ? change->length : change->mr->length,
		    change->rec.access, config_get()->strategy);
	/* it was not pinned before, so the kernel did not want to */
	if (!moves)
		choice.question.kernel = EFAULT;
	choice_make(&choice, real, change->mr->context);
	if (moves)
		try_plain(change, real, &choice);
	error = check_change(change, &choice);
	if (error)
		return error;
	change->rec.strategy = choice.route.strategy;
	if (!moves)
		return check_window(change, change->old);
	change->file = choice.memory.file;
	change->rec.stage = NULL;
	if (choice.route.strategy != STRATEGY_STAGED)
		return 0;
	change->rec.stage = region_stage(&choice, change->mr->context,
					 change->addr, change->length, NULL);
	if (!change->rec.stage)
		return errno;
	error = check_window(change, change->rec.stage);
	if (error)
		region_unstage(change->rec.stage);
	return error;
}

/*
 * A record has to be there for what it moves to, before there is no way back.
 * One that was is replaced without an allocation.
 */
static int reserve_record(struct change *change)
{
	struct mr_record empty = {.mr = change->mr};

	if (change->is_known || !change->rec.stage)
		return 0;
	if (mr_record_put(&empty) == 0) {
		change->is_reserved = true;
		return 0;
	}
	region_unstage(change->rec.stage);
	log_sentence(LOG_ERROR, "no memory to remember an MR of %zu bytes",
		     change->length);
	return ENOMEM;
}

/* The old MR is gone, the new one is there. */
static bool is_changed(int result)
{
	return result == 0 || result == IBV_REREG_MR_ERR_DO_FORK_OLD;
}

/* What is there now, for daxmr-list(1). */
static void list_again(struct change *change)
{
	struct region_listed listed = {
		.device = change->mr->context->device->name,
		.addr = change->addr,
		.length = change->length,
		.access = change->rec.access,
		.strategy = change->rec.strategy,
		.file = &change->file,
	};

	if (!is_moved(change)) {
		stats_region_access(change->rec.listed, change->rec.access);
		return;
	}
	stats_region_remove(change->rec.listed);
	change->rec.listed = 0;
	if (!is_rerouted(change->rec.strategy))
		return;
	if (change->rec.stage) {
		listed.lease = stage_lease(change->rec.stage, 0);
		listed.more_files = region_more_files(change->rec.stage);
	}
	change->rec.listed = region_list(&listed);
}

/* What it no longer lies in goes; on failure nothing has changed. */
static void end_change(struct change *change, int result)
{
	struct mr_record dropped;
	int saved_errno = errno;

	if (stage_alias(change->old) &&
	    !(is_moved(change) && is_changed(result)))
		change->mr->addr = change->old_addr;
	if (is_changed(result) && (change->is_known || has_access(change))) {
		list_again(change);
		mr_record_put(&change->rec);
	} else if (change->is_reserved)
		mr_record_take(change->mr, &dropped);
	if (change->rec.stage != change->old)
		region_unstage(is_changed(result) ? change->old
						  : change->rec.stage);
	errno = saved_errno;
}

static int refuse_input(const struct change *change, int error, const char *why)
{
	log_sentence(LOG_WARN, "ibv_rereg_mr of %zu bytes at %p: %s",
		     change->mr->length, change->old_addr, why);
	errno = error;
	return IBV_REREG_MR_ERR_INPUT;
}

/* What libibverbs and the kernel say of any call. */
static const char *misuse(const struct change *change, int access)
{
	const int known = IBV_REREG_MR_CHANGE_TRANSLATION |
			  IBV_REREG_MR_CHANGE_PD | IBV_REREG_MR_CHANGE_ACCESS;

	if (!change->flags || change->flags & ~known)
		return "it is not said what is to change";
	if (is_moved(change) && (!change->addr || !change->length))
		return "there is nothing to be moved to";
	if (access && !has_access(change))
		return "access flags without IBV_REREG_MR_CHANGE_ACCESS";
	if (!change->pd || change->pd->context != change->mr->context)
		return "the protection domain is not of its device";
	return NULL;
}

/* Where a region that is pinned goes: 0, or the errno of a refusal. */
static int route_pinned(struct change *change, const struct real_verbs *real,
			const struct region_call *where)
{
	struct choice choice;

	choice_open(&choice, where->addr, where->length, where->access,
		    config_get()->strategy);
	choice_make(&choice, real, change->mr->context);
	try_plain(change, real, &choice);
	if (choice.route.strategy == STRATEGY_REFUSED) {
		log_sentence(LOG_WARN, "%s", choice.route.why);
		return choice.route.error;
	}
	if (is_rerouted(choice.route.strategy)) {
		log_sentence(LOG_WARN,
			     "ibv_rereg_mr of a pinned region onto what would "
			     "be %s: deregister it and register another",
			     strategy_name(choice.route.strategy));
		return EOPNOTSUPP;
	}
	change->rec.strategy = choice.route.strategy;
	change->file = choice.memory.file;
	return 0;
}

/* What it was is not there any more. */
static void list_moved(struct change *change)
{
	struct region_listed listed = {
		.device = change->mr->context->device->name,
		.addr = change->mr->addr,
		.length = change->mr->length,
		.access = change->rec.access,
		.strategy = change->rec.strategy,
		.file = &change->file,
		.lease = pinned_lease(change->rec.pinned),
	};

	stats_region_remove(change->rec.listed);
	change->rec.listed = 0;
	if (change->rec.strategy != STRATEGY_PINNED)
		return;
	change->rec.listed = region_list(&listed);
	pinned_list(change->rec.pinned, change->rec.listed);
}

/*
 * The lease, the gate and the key are a region's for its life, so another takes
 * its place, under the same struct ibv_mr.
 */
static int replace_pinned(struct change *change,
			  const struct region_call *where)
{
	int saved_errno = errno, r;

	r = pinned_move(change->rec.pinned, where,
			change->rec.strategy == STRATEGY_PINNED,
			&change->rec.pinned);
	if (r) {
		log_sentence(LOG_WARN,
			     "ibv_rereg_mr of %zu bytes at %p, to %zu bytes at "
			     "%p: %s",
			     change->mr->length, change->old_addr,
			     where->length, where->addr, reason_text());
		errno = r == -ENOKEY ? EIO : -r;
		return r == -ENOKEY ? IBV_REREG_MR_ERR_CMD
				    : IBV_REREG_MR_ERR_INPUT;
	}
	list_moved(change);
	mr_record_put(&change->rec);
	errno = saved_errno;
	return 0;
}

static int move_pinned(struct change *change, const struct real_verbs *real)
{
	struct region_call where = {
		.real = real,
		.pd = change->pd,
		.addr = change->addr,
		.length = change->length,
		.iova = (uintptr_t)change->addr,
		.access = change->rec.access,
	};
	int saved_errno = errno, r = route_pinned(change, real, &where);

	if (r) {
		errno = r;
		return IBV_REREG_MR_ERR_INPUT;
	}
	errno = saved_errno;
	return replace_pinned(change, &where);
}

/* What an rkey that stays does not go with, or NULL. */
static const char *breaks_key(const struct change *change)
{
	const struct pinned *pinned = change->rec.pinned;
	bool keeps_key = pinned_keeps_key(pinned);

	if (keeps_key && change->pd != change->mr->pd)
		return "with keys=window it stays in its protection domain, "
		       "which its rkey is of: deregister it and register "
		       "another";
	if ((keeps_key || pinned_would_keep_key(pinned, change->rec.access)) &&
	    !is_moved(change))
		return "with keys=window its access flags change along with "
		       "its range alone: give that too "
		       "(IBV_REREG_MR_CHANGE_TRANSLATION)";
	return NULL;
}

static int change_pinned(struct change *change, const struct real_verbs *real,
			 int access)
{
	const char *why = misuse(change, access);
	int r;

	if (why)
		return refuse_input(change, EINVAL, why);
	if (!pinned_may_be_bound(change->rec.pinned, change->rec.access))
		return refuse_input(change, EOPNOTSUPP,
				    "a pinned region of a program that is "
				    "asked cannot have IBV_ACCESS_MW_BIND");
	why = breaks_key(change);
	if (why)
		return refuse_input(change, EOPNOTSUPP, why);
	if (change->flags & IBV_REREG_MR_CHANGE_PD &&
	    gate_pd_is_imported(change->pd))
		return refuse_input(change, EOPNOTSUPP,
				    "a pinned region cannot go to a PD that "
				    "was imported (ibv_import_pd): the work on "
				    "it of the context it came from is not "
				    "seen");
	if (is_moved(change))
		return move_pinned(change, real);
	r = pinned_reregister(change->rec.pinned, change->flags, change->pd,
			      access);
	if (!r) {
		stats_region_access(change->rec.listed, change->rec.access);
		mr_record_put(&change->rec);
	}
	return r;
}

int region_reregister(const struct real_verbs *real, struct ibv_mr *mr,
		      int flags, struct ibv_pd *pd, void *addr, size_t length,
		      int access)
{
	struct change change = {
		.mr = mr,
		.flags = flags,
		.pd = flags & IBV_REREG_MR_CHANGE_PD ? pd : mr->pd,
		.addr = addr,
		.length = length,
		.old_addr = mr->addr,
		.rec = {.mr = mr},
	};
	int saved_errno = errno, r;

	change.is_known = mr_record_get(mr, &change.rec);
	change.old = change.rec.stage;
	if (has_access(&change))
		change.rec.access = (unsigned int)access;
	log_clear_sentence();
	if (change.rec.pinned)
		return change_pinned(&change, real, access);
	if (change.rec.window) {
		refuse_window(&change);
		errno = EOPNOTSUPP;
		return IBV_REREG_MR_ERR_INPUT;
	}
	if (is_moved(&change) ||
	    (has_access(&change) && is_rerouted(change.rec.strategy))) {
		r = check_alias(&change);
		if (!r)
			r = route_change(&change, real);
		if (!r)
			r = reserve_record(&change);
		if (r) {
			errno = r;
			return IBV_REREG_MR_ERR_INPUT;
		}
		if (is_rerouted(change.rec.strategy)) {
			flags |= IBV_REREG_MR_CHANGE_ACCESS;
			access = (int)(change.rec.strategy == STRATEGY_ODP
					       ? change.rec.access |
							 IBV_ACCESS_ON_DEMAND
					       : change.rec.access &
							 ~IBV_ACCESS_ON_DEMAND);
		}
	}
	errno = saved_errno;
	region_show_alias(mr, change.old);
	r = real->rereg_mr(mr, flags, pd, addr, length, access);
	end_change(&change, r);
	return r;
}
