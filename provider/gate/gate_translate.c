/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Posts whose lkeys are exchanged on the way to the provider. Work requests
 * are the program's, perhaps shared between threads: what is changed is a copy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gate_bind.h"
#include "gate_context.h"
#include "gate_keys.h"

#define WRS  16 /* of a chain are posted at once */
#define SGES 64

static bool has_promised(const struct ibv_context *context,
			 const struct ibv_sge *sges, int count)
{
	for (int i = 0; i < count; i++)
		if (gate_key_actual(context, sges[i].lkey) != sges[i].lkey)
			return true;
	return false;
}

static void translate(const struct ibv_context *context, struct ibv_sge *to,
		      const struct ibv_sge *sges, int count)
{
	for (int i = 0; i < count; i++) {
		to[i] = sges[i];
		to[i].lkey = gate_key_actual(context, sges[i].lkey);
	}
}

/* How many scatter/gather elements are to be translated. */
static int count_of(const struct ibv_send_wr *wr)
{
	return wr->send_flags & IBV_SEND_INLINE ? 0 : wr->num_sge;
}

static bool is_bind(const struct ibv_send_wr *wr)
{
	return wr->opcode == IBV_WR_BIND_MW;
}

static bool is_to_be_changed(const struct ibv_context *context,
			     const struct ibv_send_wr *wr)
{
	while (wr && !is_bind(wr) &&
	       !has_promised(context, wr->sg_list, count_of(wr)))
		wr = wr->next;
	return wr;
}

/* 0; ENOMEM: none has begun. */
static int begin_binds(struct gate_binding *bindings, struct ibv_send_wr *wrs,
		       int n)
{
	int r = 0, i = 0;

	for (; i < n && !r; i++) {
		if (is_bind(&wrs[i]))
			r = gate_binding_begin(&bindings[i],
					       &wrs[i].bind_mw.bind_info);
		if (is_bind(&wrs[i]) && !r)
			wrs[i].bind_mw.bind_info = bindings[i].info;
	}
	for (i = r ? i - 1 : 0; i-- > 0;)
		if (is_bind(&wrs[i]))
			gate_binding_end(&bindings[i], wrs[i].bind_mw.mw,
					 false);
	return r;
}

static void end_binds(struct gate_binding *bindings,
		      const struct ibv_send_wr *wrs, int n, int posted)
{
	for (int i = 0; i < n; i++)
		if (is_bind(&wrs[i]))
			gate_binding_end(&bindings[i], wrs[i].bind_mw.mw,
					 i < posted);
}

/* Posts as many as fit; the rest's first in *wr. */
static int send_some(gate_post_send_fn original, struct ibv_qp *qp,
		     struct ibv_send_wr **wr, struct ibv_send_wr **bad_wr)
{
	struct ibv_send_wr copies[WRS], *of[WRS], *bad_copy = copies;
	struct ibv_sge on_stack[SGES], *sges = on_stack;
	struct gate_binding bindings[WRS];
	int n = 0, used = 0, posted, r;

	if (count_of(*wr) > SGES)
		sges = calloc((size_t)count_of(*wr), sizeof(*sges));
	if (!sges) {
		*bad_wr = *wr;
		return ENOMEM;
	}
	do {
		of[n] = *wr;
		copies[n] = **wr;
		copies[n].next = NULL;
		if (n)
			copies[n - 1].next = &copies[n];
		if (count_of(*wr)) {
			copies[n].sg_list = sges + used;
			translate(qp->context, sges + used, (*wr)->sg_list,
				  count_of(*wr));
		}
		used += count_of(*wr);
		n++;
		*wr = (*wr)->next;
	} while (*wr && n < WRS && used + count_of(*wr) <= SGES);
	r = begin_binds(bindings, copies, n);
	if (!r) {
		r = original(qp, copies, &bad_copy);
		posted = r ? (int)(bad_copy - copies) : n;
		if (posted < 0 || posted > n)
			posted = 0;
		end_binds(bindings, copies, n, posted);
	}
	if (r)
		*bad_wr = of[bad_copy >= copies && bad_copy < copies + n
				     ? bad_copy - copies
				     : 0];
	if (sges != on_stack)
		free(sges);
	return r;
}

int gate_send_translated(gate_post_send_fn original, struct ibv_qp *qp,
			 struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	int r = 0;

	if (!is_to_be_changed(qp->context, wr))
		return original(qp, wr, bad_wr);
	while (wr && !r)
		r = send_some(original, qp, &wr, bad_wr);
	return r;
}

void gate_set_sge_list_translated(gate_set_sge_list_fn original,
				  struct ibv_qp_ex *qp, size_t count,
				  const struct ibv_sge *sges)
{
	const struct ibv_context *context = qp->qp_base.context;
	struct ibv_sge on_stack[SGES], *copies = on_stack;

	if (!has_promised(context, sges, (int)count))
		return original(qp, count, sges);
	if (count > SGES)
		copies = calloc(count, sizeof(*copies));
	/* without memory: the device refuses a key that is nobody's */
	if (!copies)
		return original(qp, count, sges);
	translate(context, copies, sges, (int)count);
	original(qp, count, copies);
	if (copies != on_stack)
		free(copies);
}

static bool receives_promised(const struct ibv_context *context,
			      const struct ibv_recv_wr *wr)
{
	while (wr && !has_promised(context, wr->sg_list, wr->num_sge))
		wr = wr->next;
	return wr;
}

/* To a QP or an SRQ: whichever function is not NULL. */
struct receiver {
	const struct ibv_context *context;
	gate_post_recv_fn post;
	struct ibv_qp *qp;
	gate_post_srq_recv_fn post_shared;
	struct ibv_srq *srq;
};

static int receive_one(const struct receiver *to, struct ibv_recv_wr *wr,
		       struct ibv_recv_wr **bad_wr)
{
	struct ibv_sge on_stack[SGES], *sges = on_stack;
	struct ibv_recv_wr copy = *wr, *bad_copy;
	int r;

	if (wr->num_sge > SGES)
		sges = calloc((size_t)wr->num_sge, sizeof(*sges));
	*bad_wr = wr;
	if (!sges)
		return ENOMEM;
	translate(to->context, sges, wr->sg_list, wr->num_sge);
	copy.next = NULL;
	copy.sg_list = sges;
	r = to->post ? to->post(to->qp, &copy, &bad_copy)
		     : to->post_shared(to->srq, &copy, &bad_copy);
	if (sges != on_stack)
		free(sges);
	return r;
}

static int receive(const struct receiver *to, struct ibv_recv_wr *wr,
		   struct ibv_recv_wr **bad_wr)
{
	int r = 0;

	if (!receives_promised(to->context, wr))
		return to->post ? to->post(to->qp, wr, bad_wr)
				: to->post_shared(to->srq, wr, bad_wr);
	for (; wr && !r; wr = wr->next)
		r = receive_one(to, wr, bad_wr);
	return r;
}

static struct receivers {
	gate_post_recv_fn post;
	gate_post_srq_recv_fn post_shared;
} originals[GATE_SLOTS];

#define FOR_EACH_SLOT(do)                                                      \
	do                                                                     \
	(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#define FUNCTIONS(n)                                                           \
	static int post_recv_##n(struct ibv_qp *qp, struct ibv_recv_wr *wr,    \
				 struct ibv_recv_wr **bad_wr)                  \
	{                                                                      \
		const struct receiver to = {.context = qp->context,            \
					    .post = originals[n].post,         \
					    .qp = qp};                         \
                                                                               \
		return receive(&to, wr, bad_wr);                               \
	}                                                                      \
	static int post_srq_recv_##n(struct ibv_srq *srq,                      \
				     struct ibv_recv_wr *wr,                   \
				     struct ibv_recv_wr **bad_wr)              \
	{                                                                      \
		const struct receiver to = {.context = srq->context,           \
					    .post_shared =                     \
						    originals[n].post_shared,  \
					    .srq = srq};                       \
                                                                               \
		return receive(&to, wr, bad_wr);                               \
	}
FOR_EACH_SLOT(FUNCTIONS)

#define RECEIVERS(n) {post_recv_##n, post_srq_recv_##n},
static const struct receivers ours[] = {FOR_EACH_SLOT(RECEIVERS)};
_Static_assert(sizeof(ours) / sizeof(ours[0]) == GATE_SLOTS,
	       "a function for each slot");

static size_t slot_of(const struct ibv_context_ops *ops)
{
	size_t i = 0;

	for (; i < GATE_SLOTS && originals[i].post; i++)
		if (originals[i].post == ops->post_recv &&
		    originals[i].post_shared == ops->post_srq_recv)
			return i;
	if (i < GATE_SLOTS)
		originals[i] =
			(struct receivers){ops->post_recv, ops->post_srq_recv};
	return i;
}

int gate_translate_locked(struct gate_context *context)
{
	struct ibv_context_ops *ops = &context->context->ops;
	size_t i;

	if (context->is_translated)
		return 0;
	i = slot_of(ops);
	if (i == GATE_SLOTS)
		return -ENOSPC;
	context->receivers = i;
	context->is_translated = true;
	__atomic_store_n(&ops->post_recv, ours[i].post, __ATOMIC_RELEASE);
	__atomic_store_n(&ops->post_srq_recv, ours[i].post_shared,
			 __ATOMIC_RELEASE);
	gate_post_send_translate_locked(context->post_send, true);
	return 0;
}

/* Sends are translated for all contexts of a provider, or for none. */
void gate_untranslate_locked(struct gate_context *context, bool is_last)
{
	struct ibv_context_ops *ops = &context->context->ops;
	const struct receivers *original = &originals[context->receivers];

	if (is_last)
		gate_post_send_translate_locked(context->post_send, false);
	if (!context->is_translated)
		return;
	context->is_translated = false;
	__atomic_store_n(&ops->post_recv, original->post, __ATOMIC_RELEASE);
	__atomic_store_n(&ops->post_srq_recv, original->post_shared,
			 __ATOMIC_RELEASE);
}
