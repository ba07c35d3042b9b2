/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "clock.h"
#include "gate_cm.h"
#include "gate_context.h"
#include "gate_cq.h"
#include "gate_keys.h"
#include "gate_mark.h"
#include "gate_pd.h"
#include "gate_qp.h"
#include "stats.h"

static struct gate_context *contexts;
static struct gate *closed;
static uint64_t gates_closed;

struct gate_context *gate_context_find_locked(const struct ibv_context *context)
{
	struct gate_context *found = contexts;

	while (found && found->context != context)
		found = found->next;
	return found;
}

bool gate_context_is_of_locked(const struct ibv_context *context,
			       gate_post_send_fn post_send)
{
	const struct gate_context *found = gate_context_find_locked(context);

	return found && found->post_send == post_send;
}

static void count(const struct ibv_context *context, unsigned int what,
		  uint64_t by)
{
	stats_device_count(context->device->name, what, by);
}

static bool covers(const struct gate *gate, const struct ibv_context *context,
		   bool has_pd, uint32_t pd_handle)
{
	return gate->context == context &&
	       (!has_pd || gate->pd_handle == pd_handle);
}

bool gate_is_closed_locked(const struct ibv_qp *qp)
{
	const struct gate *gate = closed;
	/* a handler's post within a poll */
	bool is_polling = gate_mark.polling;

	while (gate && (!covers(gate, qp->context, qp->pd,
				qp->pd ? qp->pd->handle : 0) ||
			(is_polling && gate_drain_is_to_come_locked(gate, qp))))
		gate = gate->next;
	return gate;
}

bool gate_has_qp_locked(const struct gate *gate, const struct gate_qp *record)
{
	return !record->is_going &&
	       covers(gate, record->context, record->has_pd, record->pd_handle);
}

void gate_forget_closed_locked(void)
{
	closed = NULL;
	gate_cm_forget_locked();
	gate_windows_in_child_locked();
}

static void update_poll_attention_locked(void)
{
	gate_mark_set_poll_attention_locked(closed ||
					    gate_cq_are_busy_locked());
}

void gate_update_poll_attention(void)
{
	struct gate_locked locked;

	gate_lock(&locked);
	update_poll_attention_locked();
	gate_unlock(&locked);
}

static struct gate_context *attach(struct ibv_context *context,
				   const struct gate_verbs *verbs, int *ret)
{
	struct gate_context *added = calloc(1, sizeof(*added));
	gate_post_send_fn ours;

	*ret = -ENOMEM;
	if (!added)
		return NULL;
	*added = (struct gate_context){
		.context = context,
		.verbs = *verbs,
		.post_send = context->ops.post_send,
		.next = contexts,
	};
	*ret = -EOPNOTSUPP;
	if (!added->post_send)
		goto fail;
	*ret = -ENOSPC;
	ours = gate_post_send_for_locked(added->post_send);
	if (!ours || gate_qp_patch_all_locked(context, verbs) ||
	    gate_bind_patch_locked(added))
		goto fail;
	__atomic_store_n(&context->ops.post_send, ours, __ATOMIC_RELEASE);
	contexts = added;
	*ret = 0;
	return added;
fail:
	free(added);
	return NULL;
}

int gate_attach(struct ibv_context *context, const struct gate_verbs *verbs)
{
	struct gate_context *found;
	struct gate_locked locked;
	int r = gate_mark_init();

	if (r)
		return r;
	gate_lock(&locked);
	if (gate_qp_are_unknown_locked())
		r = -ENOMEM;
	found = gate_context_find_locked(context);
	if (!found && !r)
		found = attach(context, verbs, &r);
	if (found && !r)
		found->attached++;
	gate_unlock(&locked);
	if (!r)
		gate_qp_patch_cqs(context);
	return r;
}

static void forget(struct gate_context *found)
{
	struct gate_context **at = &contexts;

	while (*at != found)
		at = &(*at)->next;
	*at = found->next;
	free(found);
}

/* Not where somebody else has put himself before us: he calls ours. */
void gate_detach(struct ibv_context *context)
{
	struct gate_context *found;
	struct gate_locked locked;

	gate_lock(&locked);
	found = gate_context_find_locked(context);
	if (found && !--found->attached) {
		if (context->ops.post_send ==
		    gate_post_send_for_locked(found->post_send))
			__atomic_store_n(&context->ops.post_send,
					 found->post_send, __ATOMIC_RELEASE);
		gate_bind_unpatch_locked(context);
		gate_qp_unpatch_all_locked(context, &found->verbs);
		gate_keys_forget_locked(context);
		forget(found);
	}
	gate_unlock(&locked);
}

void gate_context_closing(struct ibv_context *context)
{
	struct gate_context *found;
	struct gate_locked locked;

	gate_lock(&locked);
	gate_qp_forget_locked(context);
	gate_cq_forget_locked(context);
	gate_windows_forget_locked(context);
	gate_keys_forget_locked(context);
	gate_pd_forget_locked(context);
	found = gate_context_find_locked(context);
	if (found)
		forget(found);
	gate_unlock(&locked);
}

int gate_close(struct ibv_pd *pd, int64_t deadline_ns, struct gate **ret)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	const struct gate_context *found;
	struct gate_locked locked;

	if (!gate)
		return -ENOMEM;
	gate_lock(&locked);
	found = gate_context_find_locked(pd->context);
	if (found) {
		*gate = (struct gate){
			.context = pd->context,
			.pd = pd,
			.pd_handle = pd->handle,
			.verbs = found->verbs,
			.post_send = found->post_send,
			.bind_mw = found->bind_mw,
			.number = ++gates_closed,
			.closed_ns = clock_now_ns(),
			.next = closed,
		};
		closed = gate;
		gate_mark_set_attention_locked(true);
	}
	gate_unlock(&locked);
	if (!found) {
		free(gate);
		return -EINVAL;
	}
	*ret = gate;
	count(pd->context, STATS_GATE_CLOSINGS, 1);
	return gate_mark_wait_outside(deadline_ns);
}

void gate_open(struct gate *gate)
{
	struct gate_locked locked;
	struct gate **at;

	gate_lock(&locked);
	for (at = &closed; *at; at = &(*at)->next)
		if (*at == gate) {
			*at = gate->next;
			break;
		}
	gate_mark_set_attention_locked(closed);
	update_poll_attention_locked();
	gate_unlock(&locked);
	count(gate->context, STATS_GATE_NS,
	      (uint64_t)(clock_now_ns() - gate->closed_ns));
	free(gate);
}

int gate_post_past(gate_post_send_fn plain, struct ibv_qp *qp,
		   struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	const struct gate_context *found;
	struct gate_locked locked;
	gate_post_send_fn post;
	int r;

	gate_lock(&locked);
	found = gate_context_find_locked(qp->context);
	post = found ? found->post_send : plain;
	gate_unlock(&locked);
	gate_mark_pass();
	r = post(qp, wr, bad_wr);
	gate_mark_leave(GATE_POST);
	return r;
}

/*
 * The next of the gate's QPs that is wanted, in use; NULL: none. Numbers grow:
 * what another thread severs for a gate that was closed later it has done for
 * this one, and two never go after each other's for ever.
 */
static struct gate_qp *next_to_sever(struct gate *gate, bool all)
{
	struct gate_qp *record;
	struct gate_locked locked;

	gate_lock(&locked);
	record = gate_qp_first_locked();
	while (record && (!gate_has_qp_locked(gate, record) ||
			  record->severed_in >= gate->number ||
			  (!all && record->left == GATE_DRAINED)))
		record = record->next;
	if (record) {
		record->severed_in = gate->number;
		record->has_to_disconnect = true;
		gate_qp_use_locked(record);
	}
	gate_unlock(&locked);
	return record;
}

int gate_sever(struct gate *gate, bool all)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	struct gate_qp *record;
	int severed = 0;

	while ((record = next_to_sever(gate, all))) {
		if (!gate->verbs.modify_qp(record->qp, &attr, IBV_QP_STATE))
			severed++;
		gate_qp_unuse(record);
	}
	count(gate->context, STATS_SEVERED, (uint64_t)severed);
	return severed;
}
