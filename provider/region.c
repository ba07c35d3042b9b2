/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "choice.h"
#include "config.h"
#include "log.h"
#include "mr_record.h"
#include "odp_mr.h"
#include "region.h"

/* The plain call failed and there is no other way: say what is known. */
static void explain_plain_failure(const struct region_call *call,
				  const struct choice *choice)
{
	const char *device = call->pd->context->device->name;
	unsigned int kinds = choice->memory.kinds;
	char names[320];

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

/* Remembers the MR; on failure it is gone again, with ENOMEM. */
static struct ibv_mr *record(const struct region_call *call, struct ibv_mr *mr,
			     enum strategy strategy)
{
	struct mr_record rec = {
		.mr = mr,
		.access = call->access,
		.strategy = strategy,
	};

	if (mr_record_put(&rec) == 0)
		return mr;
	call->real->dereg_mr(mr);
	log_sentence(LOG_ERROR, "no memory to remember an MR of %zu bytes",
		     call->length);
	errno = ENOMEM;
	return NULL;
}

static void prefetch(const struct region_call *call, struct ibv_mr *mr)
{
	uint64_t bytes = config_get()->prefetch;
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

	mr = call->original(call, call->access | IBV_ACCESS_ON_DEMAND);
	if (!mr) {
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
	mr = record(call, mr, STRATEGY_ODP);
	if (mr)
		prefetch(call, mr);
	return mr;
}

/* Says why, and leaves the errno for the caller. */
static void refuse(const struct region_call *call, const struct route *route)
{
	int error = route->error;
	struct ibv_mr *mr;

	if (route->ask_kernel) {
		mr = call->original(call, call->access);
		if (mr)
			call->real->dereg_mr(mr);
		else
			error = errno;
	}
	log_sentence(LOG_WARN, "%s", route->why);
	errno = error;
}

struct ibv_mr *region_register(const struct region_call *call)
{
	int saved_errno = errno;
	struct choice choice;
	struct ibv_mr *mr;

	log_clear_sentence();
	choice_open(&choice, call->addr, call->length, call->access,
		    config_get()->strategy);
	choice.question.moved_iova = call->iova != (uintptr_t)call->addr;
	route_choose(&choice.question, &choice.route);
	if (choice.route.needs == ROUTE_NEEDS_NOTHING &&
	    choice.route.strategy == STRATEGY_PASSTHROUGH) {
		errno = saved_errno;
		mr = call->original(call, call->access);
		if (mr) {
			mr = record(call, mr, STRATEGY_PASSTHROUGH);
			if (mr)
				errno = saved_errno;
			return mr;
		}
		choice.question.kernel = errno;
	}
	choice_make(&choice, call->real, call->pd->context);
	switch (choice.route.strategy) {
	case STRATEGY_ODP:
		mr = register_odp(call, &choice);
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
	if (mr)
		errno = saved_errno;
	return mr;
}

int region_deregister(const struct real_verbs *real, struct ibv_mr *mr)
{
	struct mr_record rec;
	bool known;
	int r;

	/*
	 * Out before the call: as soon as it returns another thread may get a
	 * new MR at this address, and its record must not be the one we take.
	 */
	known = mr_record_take(mr, &rec);
	r = real->dereg_mr(mr);
	if (r && known)
		mr_record_put(&rec);
	return r;
}

/*
 * The MR as it will be after the change has to be routed like a new one: a
 * translation that moves onto an fs-dax file needs ON_DEMAND, and new access
 * flags must not take the ON_DEMAND away that we added.
 */
int region_reregister(const struct real_verbs *real, struct ibv_mr *mr,
		      int flags, struct ibv_pd *pd, void *addr, size_t length,
		      int access)
{
	bool moves = flags & IBV_REREG_MR_CHANGE_TRANSLATION;
	bool reaccess = flags & IBV_REREG_MR_CHANGE_ACCESS;
	struct mr_record rec = {.mr = mr};
	int saved_errno = errno, r, real_flags = flags, real_access = access;
	struct choice choice;
	bool known;

	known = mr_record_get(mr, &rec);
	if (reaccess)
		rec.access = (unsigned int)access;
	log_clear_sentence();
	if (moves || (reaccess && rec.strategy == STRATEGY_ODP)) {
		choice_open(&choice, moves ? addr : mr->addr,
			    moves ? length : mr->length, rec.access,
			    config_get()->strategy);
		/* it needed ODP before, so the kernel did not pin it */
		if (!moves)
			choice.question.kernel = EFAULT;
		choice_make(&choice, real, mr->context);
		if (choice.route.strategy == STRATEGY_REFUSED ||
		    (choice.route.strategy == STRATEGY_ODP && !known &&
		     !reaccess)) {
			log_sentence(
				LOG_WARN, "%s",
				choice.route.strategy == STRATEGY_REFUSED
					? choice.route.why
					: "ibv_rereg_mr onto a file of an "
					  "MR whose access flags daxmr has "
					  "not seen: name them too "
					  "(IBV_REREG_MR_CHANGE_ACCESS)");
			errno = choice.route.strategy == STRATEGY_REFUSED
					? choice.route.error
					: EINVAL;
			return IBV_REREG_MR_ERR_INPUT;
		}
		rec.strategy = choice.route.strategy;
		if (choice.route.strategy == STRATEGY_ODP) {
			real_flags |= IBV_REREG_MR_CHANGE_ACCESS;
			real_access = (int)(rec.access | IBV_ACCESS_ON_DEMAND);
		}
	}
	errno = saved_errno;
	r = real->rereg_mr(mr, real_flags, pd, addr, length, real_access);
	if (r == 0 && (known || reaccess))
		mr_record_put(&rec);
	return r;
}
