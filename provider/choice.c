/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "choice.h"
#include "leases.h"
#include "log.h"
#include "own_map.h"

static void ask_trust(struct choice *choice, const struct real_verbs *real,
		      struct ibv_device *device)
{
	odp_trust_get(&real->table, device, &choice->trust);
	choice->question.trust_seen = choice->trust.seen;
	choice->question.trust_moved_iova =
		odp_trust_iova_ok(&choice->trust, device);
	if (choice->trust.verdict == ODP_WRONG)
		choice->question.trust = ROUTE_TRUST_NO;
	else if (odp_trust_ok(&choice->trust, device))
		choice->question.trust = ROUTE_TRUST_YES;
	else
		choice->question.trust = ROUTE_TRUST_UNPROVEN;
	log_write(LOG_DEBUG, "%s: on-demand paging %s (%s), %u cases, %u us%s",
		  device->name, odp_verdict_name(choice->trust.verdict),
		  choice->trust.seen, choice->trust.cases,
		  choice->trust.time_us,
		  choice->trust.from_cache ? ", remembered" : "");
}

void choice_make(struct choice *choice, const struct real_verbs *real,
		 struct ibv_context *context)
{
	choice->question.device = context->device->name;
	for (;;) {
		route_choose(&choice->question, &choice->route);
		if (choice->route.needs == ROUTE_NEEDS_NOTHING)
			return;
		if (choice->route.needs == ROUTE_NEEDS_TRUST) {
			ask_trust(choice, real, context->device);
			continue;
		}
		if (odp_caps_query(&real->table, context, &choice->caps) < 0)
			memset(&choice->caps, 0, sizeof(choice->caps));
		choice->question.caps = &choice->caps;
	}
}

/* Where nothing seems to be a shadow may just have come or gone. */
static int look(const void *addr, size_t length, struct memory *ret)
{
	struct lease_engine *engine = leases_engine();
	unsigned int look = 0;
	int r;

	do {
		if (engine)
			look = own_map_look(engine);
		r = memory_look(addr, length, ret);
	} while (engine && !r && ret->kinds & MEMORY_BIT(MEMORY_UNMAPPED) &&
		 own_map_has_moved(engine, look));
	return r;
}

void choice_open(struct choice *choice, const void *addr, size_t length,
		 unsigned int access, enum strategy wish)
{
	int r;

	memset(choice, 0, sizeof(*choice));
	choice->question.memory = &choice->memory;
	choice->question.access = access;
	choice->question.kernel = ROUTE_KERNEL_NOT_ASKED;
	choice->question.wish = wish;
	if (wish == STRATEGY_PASSTHROUGH)
		return;
	r = look(addr, length, &choice->memory);
	if (r < 0) {
		choice->memory.kinds = MEMORY_BIT(MEMORY_UNKNOWN);
		choice->memory.file.kind = MEMORY_UNKNOWN;
		choice->memory.unseen = -r;
		choice->memory.start = (uintptr_t)addr;
		log_write(LOG_INFO,
			  "cannot see what is mapped at %p: %s; the kernel "
			  "decides",
			  addr, strerror(-r));
	}
}
