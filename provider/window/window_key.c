/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "gate/gate_pd.h"
#include "log.h"
#include "reason.h"
#include "refusal.h"
#include "window_key.h"
#include "window_parts.h"
#include "window_test.h"

/* What a window can give. */
#define REMOTE                                                                 \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |                    \
	 IBV_ACCESS_REMOTE_ATOMIC)
/* Flushes by peers, which go by the key as well (rdma-core 45's names). */
#define FLUSHES (1U << 8 | 1U << 9)

#define WANTS "%s wants a memory window"

bool window_key_is_due(unsigned int access)
{
	return access & (REMOTE | IBV_ACCESS_MW_BIND | FLUSHES);
}

unsigned int window_mr_access(unsigned int access)
{
	return (access & ~(unsigned int)(REMOTE | IBV_ACCESS_ON_DEMAND)) |
	       IBV_ACCESS_MW_BIND;
}

static int check_access(const struct region_call *call, const char *policy)
{
	if (call->access & IBV_ACCESS_MW_BIND)
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WANTS
				       " of daxmr's: one of the program's own "
				       "(IBV_ACCESS_MW_BIND) would reach what "
				       "that does not",
				       policy);
	if (call->access & FLUSHES)
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WANTS ", which lets no peer flush "
					     "(IBV_ACCESS_FLUSH_GLOBAL)",
				       policy);
	if (gate_pd_is_imported(call->pd))
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WANTS
				       ", bound by a QP of daxmr's own in a PD "
				       "that is not to be imported "
				       "(ibv_import_pd)",
				       policy);
	if (call->access & IBV_ACCESS_ZERO_BASED)
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WANTS
				       ", which is at the region's address: "
				       "leave the iova and "
				       "IBV_ACCESS_ZERO_BASED to that",
				       policy);
	return 0;
}

static int check_device(const struct region_call *call, const char *policy)
{
	struct ibv_device *device = call->pd->context->device;
	struct window_verdict verdict;

	window_verdict_get(&call->real->table, device, &verdict);
	log_write(LOG_DEBUG, "%s: memory windows %s (%s), %u us", device->name,
		  verdict.is_right ? "right" : "not to be used", verdict.seen,
		  verdict.time_us);
	if (!verdict.is_right)
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WANTS ", and those of %s do not do: %s",
				       policy, device->name, verdict.seen);
	if (call->access & IBV_ACCESS_REMOTE_ATOMIC && !verdict.has_atomics)
		return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
				       WANTS
				       ", and through those of %s come no "
				       "atomics (IBV_ACCESS_REMOTE_ATOMIC)",
				       policy, device->name);
	return 0;
}

int window_key_check(const struct region_call *call, const char *policy)
{
	int r = check_access(call, policy);

	return r ? r : check_device(call, policy);
}

int window_key_open(struct window_key *key, const struct region_call *call,
		    const char *policy)
{
	struct ibv_context *context = call->pd->context;
	struct window_pd *binder = window_pd_get(call->real, call->pd);
	struct ibv_mw *mw;
	int error;

	if (!binder)
		return reason_set(-ENOMEM, "no memory for one region more");
	errno = 0;
	mw = context->ops.alloc_mw(call->pd, IBV_MW_TYPE_1);
	if (!mw) {
		error = errno ? errno : EOPNOTSUPP;
		window_pd_put(binder);
		return reason_set_kind(REFUSAL_WINDOW, -error,
				       WANTS ", and %s has none left (%s)",
				       policy, context->device->name,
				       strerrordesc_np(error));
	}
	/* As ibv_alloc_mw() does where the provider does not. */
	mw->context = context;
	mw->pd = call->pd;
	mw->type = IBV_MW_TYPE_1;
	*key = (struct window_key){
		.real = call->real,
		.pd = call->pd,
		.binder = binder,
		.mw = mw,
		.rkey = mw->rkey,
		.remote = call->access & REMOTE,
	};
	return 0;
}

int window_key_bind(struct window_key *key, struct ibv_mr *mr, uint64_t addr,
		    uint64_t length, int64_t until_ns)
{
	const struct window_range range = {
		.mr = mr,
		.addr = addr,
		.length = length,
		.access = key->remote,
	};

	return window_pd_bind(key->binder, key->mw, &range, until_ns);
}

int window_key_explain(int error, uint64_t length, const struct window_key *key,
		       const char *policy)
{
	if (error != -EIO || length <= 1UL << 31)
		return error;
	return reason_set_kind(REFUSAL_WINDOW, -EOPNOTSUPP,
			       WANTS
			       ", and those of %s are shorter than %llu "
			       "bytes: 2 GiB mostly, register it in pieces",
			       policy, key->pd->context->device->name,
			       (unsigned long long)length);
}

int window_key_clear(struct window_key *key, struct ibv_mr *mr, uint64_t addr,
		     int64_t until_ns)
{
	int r = window_key_bind(key, mr, addr, 0, until_ns);

	if (!r)
		return 0;
	if (key->pd->context->ops.dealloc_mw(key->mw))
		return r;
	key->mw = NULL;
	return 0;
}

void window_key_close(struct window_key *key)
{
	if (key->mw)
		key->pd->context->ops.dealloc_mw(key->mw);
	if (key->binder)
		window_pd_put(key->binder);
	*key = (struct window_key){0};
}
