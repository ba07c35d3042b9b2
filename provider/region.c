/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "choice.h"
#include "config.h"
#include "log.h"
#include "mr_record.h"
#include "odp_mr.h"
#include "pinned.h"
#include "probe.h"
#include "reason.h"
#include "refusal.h"
#include "region.h"
#include "region_parts.h"
#include "stage.h"
#include "stats.h"
#include "window/window.h"

/* The plain call failed and there is no other way: say what is known. */
static void explain_plain_failure(const struct region_call *call,
				  const struct choice *choice)
{
	const char *device = call->pd->context->device->name;
	unsigned int kinds = choice->memory.kinds;
	char names[320];

	reason_mark(kinds == MEMORY_BIT(MEMORY_UNMAPPED) ? REFUSAL_UNMAPPED
		    : errno == ENOMEM			 ? REFUSAL_LOCKED
							 : REFUSAL_KERNEL);
	if (call->length == 0)
		log_sentence(LOG_WARN,
			     "registration of 0 bytes at %p on %s failed (%s): "
			     "there is nothing to register",
			     call->addr, device, strerror(errno));
	else if (kinds == MEMORY_BIT(MEMORY_UNMAPPED))
		log_sentence(LOG_WARN,
			     "registration of %zu bytes at %p on %s failed "
			     "(%s): nothing is mapped there",
			     call->length, call->addr, device, strerror(errno));
	else if (errno == ENOMEM)
		log_sentence(LOG_WARN,
			     "registration of %zu bytes at %p on %s failed "
			     "(%s): mostly the limit on locked memory (ulimit "
			     "-l, LimitMEMLOCK=)",
			     call->length, call->addr, device, strerror(errno));
	else
		log_sentence(LOG_INFO,
			     "registration of %zu bytes at %p (%s) on %s "
			     "failed: %s; the kernel's answer, daxmr passed it "
			     "on",
			     call->length, call->addr,
			     memory_kinds_names(kinds, names, sizeof(names)),
			     device, strerror(errno));
}

/*
 * The very call the program made. A key that a pinned region has promised is
 * kept from it: held until there is another.
 */
static struct ibv_mr *call_original(const struct region_call *call,
				    unsigned int access)
{
	struct ibv_mr *mr = call->original(call, access), *other;
	int saved_errno;

	if (!mr || !pinned_has_key(mr))
		return mr;
	other = call_original(call, access);
	saved_errno = errno;
	call->real->dereg_mr(mr);
	errno = saved_errno;
	return other;
}

/* For daxmr-list(1), which knows of files alone. */
static uint64_t list(const struct region_call *call,
		     const struct choice *choice, enum strategy strategy,
		     struct lease *lease, uint32_t more_files)
{
	struct region_listed listed = {
		.device = call->pd->context->device->name,
		.addr = call->addr,
		.length = call->length,
		.access = call->access,
		.strategy = strategy,
		.file = &choice->memory.file,
		.lease = lease,
		.more_files = more_files,
	};

	return strategy == STRATEGY_PASSTHROUGH ? 0 : region_list(&listed);
}

/* Remembers the MR; on failure it is gone again, with ENOMEM. */
static struct ibv_mr *record_with(const struct region_call *call,
				  const struct choice *choice,
				  struct ibv_mr *mr, enum strategy strategy,
				  struct stage *stage, struct window *window)
{
	struct mr_record rec = {
		.mr = mr,
		.access = call->access,
		.strategy = strategy,
		.stage = stage,
		.window = window,
	};

	rec.listed = list(call, choice, strategy,
			  stage ? stage_lease(stage, 0) : NULL,
			  stage ? region_more_files(stage) : 0);
	if (mr_record_put(&rec) == 0)
		return mr;
	stats_region_remove(rec.listed);
	if (window)
		window_close(window);
	region_show_alias(mr, stage);
	call->real->dereg_mr(mr);
	log_sentence(LOG_ERROR, "no memory to remember an MR of %zu bytes",
		     call->length);
	reason_mark(REASON_MEMORY);
	errno = ENOMEM;
	return NULL;
}

static struct ibv_mr *record(const struct region_call *call,
			     const struct choice *choice, struct ibv_mr *mr,
			     enum strategy strategy)
{
	return record_with(call, choice, mr, strategy, NULL, NULL);
}

static void prefetch(const struct region_call *call, struct ibv_mr *mr)
{
	uint64_t bytes = call->options ? call->options->prefetch
				       : config_get()->prefetch;
	int r;

	if (!bytes)
		return;
	r = odp_mr_prefetch(&call->real->table, mr, call->iova, bytes);
	if (r < 0)
		log_write(LOG_INFO,
			  "prefetch of %zu bytes at %p stopped (%s): pages "
			  "are faulted in when they are used",
			  call->length, call->addr, strerror(-r));
}

static struct ibv_mr *register_odp(const struct region_call *call,
				   const struct choice *choice)
{
	const char *device = call->pd->context->device->name;
	struct ibv_mr *mr;

	mr = call_original(call, call->access | IBV_ACCESS_ON_DEMAND);
	if (!mr) {
		reason_mark(REFUSAL_KERNEL);
		log_sentence(LOG_WARN,
			     "%s: registration of %zu bytes at %p with "
			     "on-demand paging on %s, access flags %#x, "
			     "failed: %s",
			     choice->memory.file.name, call->length, call->addr,
			     device, call->access, strerror(errno));
		return NULL;
	}
	log_write(LOG_INFO, "%zu bytes at %p on %s: odp: %s", call->length,
		  call->addr, device, choice->route.why);
	if (choice->memory.beyond_eof)
		log_write(LOG_INFO,
			  "%s: the range goes beyond the end of the file; "
			  "access there fails until the file has grown",
			  choice->memory.file.name);
	mr = record(call, choice, mr, STRATEGY_ODP);
	if (mr)
		prefetch(call, mr);
	return mr;
}

struct stage *region_stage(const struct choice *choice,
			   const struct ibv_context *context, const void *addr,
			   size_t length, const struct region_options *options)
{
	struct window_still still;
	struct stage_wish wish;
	struct stage *stage = NULL;
	int r;

	if (options)
		wish = (struct stage_wish){options->terms, options->stage_max};
	/* It may be let do that because it has one thread. */
	window_pause(&still);
	r = stage_take(addr, length, options ? &wish : NULL, &stage);
	window_resume(&still);
	if (!r)
		return stage;
	/* The way is in the end: that can do without its tail. */
	log_sentence(LOG_WARN,
		     "registration of %zu bytes at %p on %s failed: %s; see to "
		     "that, or register ordinary memory and copy (%s)",
		     length, addr, context->device->name, reason_text(),
		     choice->route.why);
	errno = -r;
	return NULL;
}

/* As region_stage(). */
void region_unstage(struct stage *stage)
{
	struct window_still still;

	if (!stage)
		return;
	window_pause(&still);
	stage_give_back(stage);
	window_resume(&still);
}

/*
 * On what the program has mapped for reading only, by a kernel that pins such
 * memory in no other way: for the device and for peers it is at the program's
 * address. The errno is the first answer's.
 */
static struct ibv_mr *register_alias(const struct region_call *call,
				     struct stage *stage, unsigned int access)
{
	int saved_errno = errno;
	struct ibv_mr *mr;
	void *alias;

	if (saved_errno != EFAULT || call->access & REGION_WRITABLE ||
	    !call->real->reg_mr_iova2)
		return NULL;
	alias = stage_make_alias(stage);
	mr = alias ? call->real->reg_mr_iova2(call->pd, alias, call->length,
					      call->iova, access)
		   : NULL;
	if (mr)
		mr->addr = call->addr;
	errno = saved_errno;
	return mr;
}

/*
 * The shadows are memory that any device pins: the program's own call, but for
 * an ON_DEMAND that the device cannot be trusted with, and for what only a
 * window is to give.
 */
static struct ibv_mr *register_shadow(const struct region_call *call,
				      const struct choice *choice,
				      struct stage *stage, bool has_window)
{
	unsigned int access = call->access & ~(unsigned)IBV_ACCESS_ON_DEMAND;
	struct ibv_mr *mr;

	if (has_window)
		access = window_mr_access(access);
	mr = call_original(call, access);
	if (!mr)
		mr = register_alias(call, stage, access);
	if (!mr)
		explain_plain_failure(call, choice);
	return mr;
}

static void refuse_window(const struct region_call *call, int error)
{
	log_sentence(LOG_WARN,
		     "registration of %zu bytes at %p on %s failed: %s; or "
		     "choose on_shrink=extend or discard",
		     call->length, call->addr, call->pd->context->device->name,
		     reason_text());
	errno = -error;
}

/* The MR, and the window that its rkey is of, if it has one. */
static struct ibv_mr *register_in(const struct region_call *call,
				  const struct choice *choice,
				  struct stage *stage)
{
	struct window *window = NULL;
	int r = window_is_wanted(call, stage);
	struct ibv_mr *mr;

	if (r < 0) {
		refuse_window(call, r);
		return NULL;
	}
	mr = register_shadow(call, choice, stage, r);
	if (!mr)
		return NULL;
	if (r)
		r = window_open(call, stage, mr, &window);
	if (r) {
		region_show_alias(mr, stage);
		call->real->dereg_mr(mr);
		refuse_window(call, r);
		return NULL;
	}
	log_write(LOG_INFO, "%zu bytes at %p on %s: staged%s: %s", call->length,
		  call->addr, call->pd->context->device->name,
		  window ? ", by a window" : "", choice->route.why);
	return record_with(call, choice, mr, STRATEGY_STAGED, stage, window);
}

static struct ibv_mr *register_staged(const struct region_call *call,
				      const struct choice *choice)
{
	struct stage *stage =
		region_stage(choice, call->pd->context, call->addr,
			     call->length, call->options);
	struct ibv_mr *mr;
	int error;

	if (!stage)
		return NULL;
	mr = register_in(call, choice, stage);
	if (mr)
		return mr;
	error = errno;
	region_unstage(stage);
	errno = error;
	return NULL;
}

/* On the file itself, which goes when others want it. */
static struct ibv_mr *register_pinned(const struct region_call *call,
				      const struct choice *choice)
{
	struct mr_record rec = {
		.access = call->access,
		.strategy = STRATEGY_PINNED,
	};
	struct ibv_mr *mr;
	int r = pinned_register(call, &rec.pinned, &mr);

	if (r) {
		log_sentence(LOG_WARN,
			     "%s: registration of %zu bytes at %p on %s "
			     "failed: %s",
			     choice->memory.file.name, call->length, call->addr,
			     call->pd->context->device->name, reason_text());
		errno = -r;
		return NULL;
	}
	rec.mr = mr;
	rec.listed = list(call, choice, STRATEGY_PINNED,
			  pinned_lease(rec.pinned), 0);
	pinned_list(rec.pinned, rec.listed);
	if (mr_record_put(&rec)) {
		pinned_deregister(rec.pinned);
		stats_region_remove(rec.listed);
		log_sentence(LOG_ERROR,
			     "no memory to remember an MR of %zu bytes",
			     call->length);
		reason_mark(REASON_MEMORY);
		errno = ENOMEM;
		return NULL;
	}
	log_write(LOG_INFO, "%zu bytes at %p on %s: pinned%s: %s", call->length,
		  call->addr, call->pd->context->device->name,
		  pinned_has_window(rec.pinned) ? ", by a window" : "",
		  choice->route.why);
	return mr;
}

/* Says why, and leaves the errno for the caller. */
static void refuse(const struct region_call *call, const struct route *route)
{
	int error = route->error;
	struct ibv_mr *mr;

	if (route->ask_kernel) {
		mr = call_original(call, call->access);
		if (mr)
			call->real->dereg_mr(mr);
		else
			error = errno;
	}
	log_sentence(LOG_WARN, "%s", route->why);
	reason_mark(route->refusal);
	errno = error;
}

/*
 * Is it sure that the MR is on what was looked at? Memory stays memory; in the
 * place of a file another thread may have put a shadow.
 */
static bool is_on_what_was_seen(const struct choice *choice,
				const struct stage_mark *before)
{
	return !(choice->memory.kinds &
		 (MEMORY_PAGECACHE_BITS | MEMORY_BIT(MEMORY_UNKNOWN) |
		  MEMORY_BIT(MEMORY_UNMAPPED))) ||
	       !stage_has_moved(before);
}

struct ibv_mr *region_register(const struct region_call *call)
{
	struct stage_mark before = stage_mark_get();
	int saved_errno = errno;
	struct choice choice;
	struct ibv_mr *mr;

	log_clear_sentence();
	reason_mark(REASON_OTHER);
	choice_open(&choice, call->addr, call->length, call->access,
		    call->options ? call->options->strategy
				  : config_get()->strategy);
	choice.question.moved_iova = call->iova != (uintptr_t)call->addr;
	choice.question.is_asked = call->options && call->options->is_asked;
	route_choose(&choice.question, &choice.route);
	if (choice.route.needs == ROUTE_NEEDS_NOTHING &&
	    choice.route.strategy == STRATEGY_PASSTHROUGH) {
		errno = saved_errno;
		mr = call_original(call, call->access);
		choice.question.kernel = errno;
		if (mr && !is_on_what_was_seen(&choice, &before)) {
			call->real->dereg_mr(mr);
			choice.question.kernel = EFAULT;
			mr = NULL;
		}
		if (mr) {
			mr = record(call, &choice, mr, STRATEGY_PASSTHROUGH);
			if (mr)
				errno = saved_errno;
			return mr;
		}
	}
	choice_make(&choice, call->real, call->pd->context);
	switch (choice.route.strategy) {
	case STRATEGY_ODP:
		mr = register_odp(call, &choice);
		break;
	case STRATEGY_STAGED:
		mr = register_staged(call, &choice);
		break;
	case STRATEGY_PINNED:
		mr = register_pinned(call, &choice);
		break;
	case STRATEGY_REFUSED:
		refuse(call, &choice.route);
		mr = NULL;
		break;
	default: /* passed through already, and the kernel refused */
		errno = choice.question.kernel;
		explain_plain_failure(call, &choice);
		mr = NULL;
	}
	PROBE(registration, call->addr, call->length,
	      strategy_name(mr ? choice.route.strategy : STRATEGY_REFUSED),
	      mr ? 0 : errno);
	if (mr)
		errno = saved_errno;
	else
		stats_refused(errno, reason_kind(), log_last_sentence());
	return mr;
}

int region_deregister(const struct real_verbs *real, struct ibv_mr *mr)
{
	struct mr_record rec = {0};
	void *addr = mr->addr;
	bool known;
	int r;

	/*
	 * Out before the call: as soon as it returns another thread may get a
	 * new MR at this address, and its record must not be the one we take.
	 */
	known = mr_record_take(mr, &rec);
	if (rec.pinned) {
		r = pinned_deregister(rec.pinned);
		if (r)
			mr_record_put(&rec);
		else
			stats_region_remove(rec.listed);
		return r;
	}
	/* It is in the way, and with it goes all that peers could reach. */
	if (rec.window)
		window_close(rec.window);
	rec.window = NULL;
	region_show_alias(mr, rec.stage);
	r = real->dereg_mr(mr);
	if (!r) {
		region_unstage(rec.stage);
		stats_region_remove(rec.listed);
		return 0;
	}
	if (stage_alias(rec.stage))
		mr->addr = addr;
	if (known)
		mr_record_put(&rec);
	return r;
}
