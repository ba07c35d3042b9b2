/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions of daxmr.h come and go: api_region.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_region.h"
#include "leases.h"
#include "log.h"
#include "mr_record.h"
#include "reason.h"
#include "stage.h"

#define EXPORT __attribute__((visibility("default")))

_Static_assert(sizeof(struct daxmr_stats) ==
		       sizeof(size_t) + API_COUNTS * sizeof(uint64_t),
	       "api_count has all of them");

void api_enter(struct api_call *call)
{
	call->saved_errno = errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call->cancel_state);
	log_clear_sentence();
}

void api_leave(const struct api_call *call)
{
	pthread_setcancelstate(call->cancel_state, NULL);
	errno = call->saved_errno;
}

/*
 * Past the preload, whose hook would begin again: ibv_reg_mr() itself calls
 * ibv_reg_mr_iova2() in a way that the preload sees.
 */
static struct ibv_mr *original(const struct region_call *call,
			       unsigned int access)
{
	const struct real_verbs *real = call->real;

	return real->reg_mr_iova2
		       ? real->reg_mr_iova2(call->pd, call->addr, call->length,
					    call->iova, access)
		       : real->reg_mr(call->pd, call->addr, call->length,
				      (int)access);
}

int api_register(const struct daxmr_region *region, size_t length,
		 struct api_mr *ret)
{
	struct region_call call = region->call;
	struct mr_record record;
	struct ibv_mr *mr;

	call.length = length;
	errno = 0;
	mr = region_register(&call);
	if (!mr)
		return errno ? -errno : -EIO;
	*ret = (struct api_mr){.mr = mr, .strategy = STRATEGY_PASSTHROUGH};
	if (mr_record_get(mr, &record)) {
		ret->strategy = record.strategy;
		ret->stage = record.stage;
		ret->window = record.window;
		ret->pinned = record.pinned;
	}
	return 0;
}

static void free_region(struct event_source *source)
{
	struct daxmr_region *region = source->nodes[0].event.region;

	api_flushes_done(&region->flushes);
	free(region);
}

/* The MR is there: who hears of it. */
static int open_events(struct daxmr_region *region,
		       struct daxmr_channel *channel, void *data)
{
	event_source_init(&region->source, channel, region, data);
	region->source.agreed = api_agreed;
	region->source.free = free_region;
	return api_ears_open(region, &region->ears, &region->mr);
}

/* Events that somebody has read already keep it until they are acked. */
static void discard(struct daxmr_region *region)
{
	if (!region)
		return;
	if (region->source.free) {
		event_source_done(&region->source);
		return;
	}
	api_flushes_done(&region->flushes);
	free(region);
}

static int open_region(struct daxmr_region *region,
		       struct daxmr_channel *channel, void *data)
{
	int r = api_register(region, region->length, &region->mr);

	if (r)
		return r;
	r = open_events(region, channel, data);
	if (r) {
		log_sentence(LOG_WARN,
			     "registration of %zu bytes at %p failed: %s",
			     region->length, region->call.addr, reason_text());
		region_deregister(region->real, region->mr.mr);
	}
	return r;
}

static int fill_in(struct daxmr_region *region, struct ibv_pd *pd, void *addr,
		   size_t length, int access)
{
	region->pid = getpid();
	region->real = real_verbs();
	region->length = length;
	region->call = (struct region_call){
		.real = region->real,
		.pd = pd,
		.addr = addr,
		.length = length,
		.iova = (uintptr_t)addr,
		.access = (unsigned int)access,
		.original = original,
		.options = &region->options,
	};
	if (region->real)
		return 0;
	log_sentence(LOG_WARN, "no libibverbs is loaded, of which the pd could "
			       "be: link it, or load it before");
	return -ENOSYS;
}

EXPORT int daxmr_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
			int access, const struct daxmr_options *options,
			struct daxmr_region **ret)
{
	struct daxmr_region *region;
	struct daxmr_channel *channel = NULL;
	struct api_call call;
	void *data = NULL;
	int r = -ENOMEM;

	api_enter(&call);
	region = calloc(1, sizeof(*region));
	if (region)
		api_flushes_init(&region->flushes);
	if (region)
		r = api_options_read(options, region, &channel, &data);
	else
		log_sentence(LOG_WARN, "no memory for one region more");
	if (!r)
		r = channel ? event_check_channel(channel) : 0;
	if (!r)
		r = fill_in(region, pd, addr, length, access);
	if (!r)
		r = open_region(region, channel, data);
	if (!r) {
		log_write(LOG_INFO, "region %s: %zu bytes at %p, lkey %#x",
			  api_name(region), length, addr, region->mr.mr->lkey);
		*ret = region;
	} else {
		discard(region);
	}
	api_leave(&call);
	return r;
}

void api_stay(struct daxmr_region *region)
{
	/* It went first: peers reach nothing. */
	region->mr.window = NULL;
	if (api_ears_open(region, &region->ears, &region->mr))
		log_write(LOG_ERROR,
			  "nothing more will be heard of region %s: %s",
			  api_name(region), reason_text());
}

EXPORT int daxmr_dereg_mr(struct daxmr_region *region)
{
	struct api_call call;
	uint64_t flushes;
	int r;

	api_enter(&call);
	r = event_check_pid(region->pid, "region");
	if (!r) {
		flushes = api_flushes_forget(&region->flushes);
		/* The leases are its no more when the MR is gone. */
		api_ears_close(region, &region->ears);
		r = -region_deregister(region->real, region->mr.mr);
		if (r) {
			log_sentence(LOG_WARN,
				     "region %s, %zu bytes at %p, cannot be "
				     "deregistered: %s",
				     api_name(region), region->length,
				     region->call.addr, strerrordesc_np(-r));
			api_stay(region);
			api_flush_again(region, flushes);
		} else {
			discard(region);
		}
	}
	api_leave(&call);
	return r;
}

static enum daxmr_state state_of(const struct daxmr_region *region)
{
	static const enum daxmr_state states[RECALL_STATES] = {
		[RECALL_FREE] = DAXMR_STATE_HELD, /* being taken */
		[RECALL_HELD] = DAXMR_STATE_HELD,
		[RECALL_BREAKING] = DAXMR_STATE_BREAKING,
		[RECALL_MERGING] = DAXMR_STATE_MERGING,
		[RECALL_YIELDED] = DAXMR_STATE_YIELDED,
		[RECALL_LOST] = DAXMR_STATE_LOST,
	};
	enum daxmr_state worst = DAXMR_STATE_NONE;

	for (size_t i = 0; i < region->ears.count; i++) {
		enum daxmr_state state =
			states[lease_state(region->ears.ear[i].listener.lease)];

		if (state > worst)
			worst = state;
	}
	return worst;
}

static enum daxmr_strategy strategy_of(const struct daxmr_region *region)
{
	switch (region->mr.strategy) {
	case STRATEGY_ODP:
		return DAXMR_STRATEGY_ODP;
	case STRATEGY_STAGED:
		return DAXMR_STRATEGY_STAGED;
	case STRATEGY_PINNED:
		return DAXMR_STRATEGY_PINNED;
	default:
		return DAXMR_STRATEGY_PASSTHROUGH;
	}
}

/*
 * Into a structure that the program may have shorter or longer: what we do not
 * know of it is 0.
 */
static int copy_out(void *to, size_t to_size, const void *from, size_t size)
{
	if (to_size < 2 * sizeof(size_t)) {
		log_sentence(LOG_WARN,
			     "the size of the structure is %zu: it has to be "
			     "its sizeof, %zu here",
			     to_size, size);
		return -EINVAL;
	}
	memset(to, 0, to_size);
	memcpy(to, from, to_size < size ? to_size : size);
	memcpy(to, &to_size, sizeof(to_size));
	return 0;
}

EXPORT int daxmr_region_info(const struct daxmr_region *region,
			     struct daxmr_info *ret)
{
	struct daxmr_info info;
	int r = event_check_pid(region->pid, "region");

	if (r)
		return r;
	info = (struct daxmr_info){
		.name = region->name,
		.addr = region->call.addr,
		.length = region->length,
		.mr = region->mr.mr,
		/* of a pinned one they may just change */
		.lkey = __atomic_load_n(&region->mr.mr->lkey, __ATOMIC_RELAXED),
		.rkey = __atomic_load_n(&region->mr.mr->rkey, __ATOMIC_RELAXED),
		.strategy = strategy_of(region),
		.state = state_of(region),
	};
	return copy_out(ret, ret->size, &info, sizeof(info));
}

EXPORT int daxmr_region_stats(const struct daxmr_region *region,
			      struct daxmr_stats *ret)
{
	struct daxmr_stats stats;
	uint64_t counts[API_COUNTS];
	int r = event_check_pid(region->pid, "region");

	if (r)
		return r;
	for (int i = 0; i < API_COUNTS; i++)
		counts[i] = atomic_load(&region->counts[i]);
	memcpy(&stats.recalls, counts, sizeof(counts));
	return copy_out(ret, ret->size, &stats, sizeof(stats));
}
