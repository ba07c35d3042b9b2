/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "gate_context.h"
#include "gate_cq_ex.h"
#include "gate_mark.h"
#include "gate_post.h"
#include "gate_qp.h"

static void *tree;
static struct gate_qp *records;
static bool are_unknown;
static bool has_live_gone; /* one whose CQs may be patched yet */

static int by_address(const void *a, const void *b)
{
	const struct gate_qp *left = a, *right = b;

	if (left->qp == right->qp)
		return 0;
	return (uintptr_t)left->qp < (uintptr_t)right->qp ? -1 : 1;
}

struct gate_qp *gate_qp_find_locked(const struct ibv_qp *qp)
{
	const struct gate_qp key = {.qp = (struct ibv_qp *)qp};
	struct gate_qp **node = tfind(&key, &tree, by_address);

	return node ? *node : NULL;
}

struct gate_qp *gate_qp_first_locked(void)
{
	return records;
}

bool gate_qp_are_unknown_locked(void)
{
	return are_unknown;
}

void gate_qp_use_locked(struct gate_qp *record)
{
	record->uses++;
}

void gate_qp_unuse(struct gate_qp *record)
{
	struct gate_locked locked;

	gate_lock(&locked);
	record->uses--;
	gate_unlock(&locked);
}

struct gate_qp *gate_qp_get_locked(struct gate_qp *record)
{
	record->refs++;
	return record;
}

void gate_qp_put_locked(struct gate_qp *record)
{
	if (!--record->refs)
		free(record);
}

static void unlink_record(struct gate_qp *record)
{
	struct gate_qp **at = &records;

	tdelete(record, &tree, by_address);
	while (*at != record)
		at = &(*at)->next;
	*at = record->next;
}

static bool link_record(struct gate_qp *record)
{
	if (!tsearch(record, &tree, by_address)) {
		are_unknown = true;
		return false;
	}
	record->next = records;
	records = record;
	return true;
}

void gate_qp_forget_locked(const struct ibv_context *context)
{
	struct gate_qp *record, *next;

	for (record = records; record; record = next) {
		next = record->next;
		if (record->context != context)
			continue;
		record->is_going = true;
		unlink_record(record);
		gate_qp_put_locked(record);
	}
}

/* Whether what completed there does not matter: it is known what it is. */
static bool is_settled(const struct ibv_cq *cq)
{
	const struct gate_cq *record = gate_cq_find_locked(cq);

	return !cq || (record && (record->kind == GATE_CQ_PLAIN ||
				  record->kind == GATE_CQ_READ));
}

/* The QP goes, and with it what is known of its CQs. */
static void note_going(const struct gate_qp *record)
{
	if (record->was_live && !(is_settled(record->qp->send_cq) &&
				  is_settled(record->qp->recv_cq)))
		has_live_gone = true;
}

bool gate_qp_has_had_none_live_locked(const struct ibv_cq *cq)
{
	const struct gate_qp *record = records;

	while (record && !(record->was_live && (record->qp->send_cq == cq ||
						record->qp->recv_cq == cq)))
		record = record->next;
	return !record && !has_live_gone && !are_unknown;
}

/* Gives the lock meanwhile. False: it was done, or is being done. */
static bool patch_cq(struct gate_qp *record, struct gate_locked *locked)
{
	if (record->is_patched || !record->qp->send_cq)
		return false;
	record->is_patched = true;
	gate_qp_use_locked(record);
	gate_unlock(locked);
	gate_cq_ex_patch(record->qp->send_cq);
	gate_qp_unuse(record);
	gate_lock(locked);
	return true;
}

void gate_qp_patch_cqs(const struct ibv_context *context)
{
	struct gate_locked locked;
	struct gate_qp *record;

	gate_lock(&locked);
	for (record = records; record;)
		if (record->context == context && patch_cq(record, &locked))
			record = records; /* others may have gone */
		else
			record = record->next;
	gate_unlock(&locked);
}

static struct gate_qp *remember(struct ibv_qp *qp)
{
	struct gate_qp *record = calloc(1, sizeof(*record));

	if (!record) {
		are_unknown = true;
		return NULL;
	}
	*record = (struct gate_qp){
		.qp = qp,
		.context = qp->context,
		.has_pd = qp->pd,
		.pd_handle = qp->pd ? qp->pd->handle : 0,
		.qp_num = qp->qp_num,
		.type = qp->qp_type,
		.refs = 1,
	};
	if (link_record(record))
		return record;
	free(record);
	return NULL;
}

static int patch(struct gate_qp *record, const struct gate_verbs *verbs)
{
	struct ibv_qp_ex *ex =
		verbs->qp_to_qp_ex ? verbs->qp_to_qp_ex(record->qp) : NULL;

	/* not made for ibv_wr_start(): the functions are not there */
	return ex && ex->wr_start ? gate_batch_patch_locked(ex) : 0;
}

int gate_qp_patch_all_locked(struct ibv_context *context,
			     const struct gate_verbs *verbs)
{
	struct gate_qp *record;
	int r = 0;

	for (record = records; record && !r; record = record->next)
		if (record->context == context)
			r = patch(record, verbs);
	return r;
}

void gate_qp_unpatch_all_locked(struct ibv_context *context,
				const struct gate_verbs *verbs)
{
	struct gate_qp *record;
	struct ibv_qp_ex *ex;

	if (!verbs->qp_to_qp_ex)
		return;
	for (record = records; record; record = record->next) {
		if (record->context != context)
			continue;
		ex = verbs->qp_to_qp_ex(record->qp);
		if (ex)
			gate_batch_unpatch_locked(ex);
	}
}

static bool is_live(enum ibv_qp_state state)
{
	return state != IBV_QPS_RESET && state != IBV_QPS_INIT &&
	       state != IBV_QPS_UNKNOWN;
}

/* Before: it may complete before the call is back. */
void gate_qp_modifying(struct ibv_qp *qp, enum ibv_qp_state state)
{
	int saved_errno = errno;
	struct gate_locked locked;
	struct gate_qp *record;

	if (!is_live(state))
		return;
	gate_lock(&locked);
	record = gate_qp_find_locked(qp);
	if (record)
		record->was_live = true;
	gate_unlock(&locked);
	errno = saved_errno;
}

void gate_qp_modified(struct ibv_qp *qp, enum ibv_qp_state state)
{
	int saved_errno = errno;
	struct gate_context *context;
	struct gate_locked locked;
	struct gate_qp *record;

	if (gate_mark_init() == -ENOMEM)
		return;
	gate_lock(&locked);
	record = gate_qp_find_locked(qp);
	if (!record)
		record = remember(qp);
	if (record && state == IBV_QPS_RTS)
		record->was_ready = true;
	if (record && is_live(state))
		record->was_live = true;
	if (record && state == IBV_QPS_RESET) {
		record->was_ready = record->is_marked = false;
		record->severed_in = 0;
		record->has_to_disconnect = record->is_disconnected = false;
		record->resets++;
	}
	context = gate_context_find_locked(qp->context);
	if (record && context && patch(record, &context->verbs))
		are_unknown = true;
	if (record && context)
		patch_cq(record, &locked);
	gate_unlock(&locked);
	if (state == IBV_QPS_RESET)
		gate_cq_drop(qp->context, qp->qp_num);
	errno = saved_errno;
}

void gate_qp_wait_unused_locked(const struct gate_qp *record,
				struct gate_locked *locked)
{
	const struct timespec pause = {0, 50000};
	int saved_errno = errno, cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	while (record->uses) {
		gate_unlock(locked);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		gate_lock(locked);
	}
	pthread_setcancelstate(cancel_state, NULL);
	errno = saved_errno;
}

/* A drain leaves it alone from now on; what it does just now ends soon. */
struct gate_qp *gate_qp_destroying(struct ibv_qp *qp)
{
	struct gate_locked locked;
	struct gate_qp *record;

	gate_lock(&locked);
	record = gate_qp_find_locked(qp);
	if (record) {
		record->is_going = true;
		note_going(record);
		unlink_record(record);
		gate_qp_wait_unused_locked(record, &locked);
	}
	gate_unlock(&locked);
	return record;
}

void gate_qp_destroyed(struct gate_qp *record, int result)
{
	int saved_errno = errno;
	struct gate_locked locked;

	if (!record)
		return;
	if (!result)
		gate_cq_drop(record->context, record->qp_num);
	gate_lock(&locked);
	record->is_going = false;
	if (result && link_record(record))
		record = NULL;
	if (record) {
		record->is_going = true;
		gate_qp_put_locked(record);
	}
	gate_unlock(&locked);
	errno = saved_errno;
}
