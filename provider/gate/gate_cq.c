/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gate_cq.h"
#include "gate_cq_ex.h"
#include "gate_mark.h"
#include "quiet.h"

#define BATCH 16

static struct gate_cq *records;
static _Atomic uint64_t unlinked;

struct gate_cq *gate_cq_find_locked(const struct ibv_cq *cq)
{
	struct gate_cq *record = records;

	while (record && record->cq != cq)
		record = record->next;
	return record;
}

uint64_t gate_cq_unlinked(void)
{
	return atomic_load_explicit(&unlinked, memory_order_acquire);
}

struct gate_cq *gate_cq_ref_locked(struct gate_cq *record)
{
	record->refs++;
	return record;
}

struct gate_cq *gate_cq_get(struct ibv_cq *cq)
{
	struct gate_cq *record, *fresh = calloc(1, sizeof(*fresh));
	struct gate_locked locked;

	gate_lock(&locked);
	record = gate_cq_find_locked(cq);
	if (!record && fresh) {
		record = fresh;
		fresh = NULL;
		record->cq = cq;
		record->context = cq->context;
		record->refs = 1;
		pthread_mutex_init(&record->lock, NULL);
		record->next = records;
		records = record;
	}
	if (record)
		record->refs++;
	gate_unlock(&locked);
	free(fresh);
	return record;
}

static void put_locked(struct gate_cq *record)
{
	struct gate_marker *marker;

	if (--record->refs)
		return;
	while ((marker = record->markers)) {
		record->markers = marker->next;
		if (marker->is_left)
			free(marker);
	}
	pthread_mutex_destroy(&record->lock);
	gate_cq_ex_free(record->ex);
	free(record->kept);
	free(record);
}

void gate_cq_put(struct gate_cq *record)
{
	struct gate_locked locked;

	gate_lock(&locked);
	put_locked(record);
	gate_unlock(&locked);
}

static void unlink_locked(struct gate_cq *record)
{
	struct gate_cq **at = &records;

	while (*at != record)
		at = &(*at)->next;
	*at = record->next;
	unlinked++;
}

struct gate_cq *gate_cq_destroying(struct ibv_cq *cq)
{
	struct gate_locked locked;
	struct gate_cq *record;

	gate_lock(&locked);
	record = gate_cq_find_locked(cq);
	if (record) {
		unlink_locked(record);
		pthread_mutex_lock(&record->lock);
		record->is_going = true;
		pthread_mutex_unlock(&record->lock);
	}
	gate_unlock(&locked);
	return record;
}

void gate_cq_destroyed(struct gate_cq *record, int result)
{
	struct gate_locked locked;

	if (!record)
		return;
	gate_lock(&locked);
	if (result) {
		pthread_mutex_lock(&record->lock);
		record->is_going = false;
		pthread_mutex_unlock(&record->lock);
		record->next = records;
		records = record;
	} else {
		put_locked(record);
	}
	gate_unlock(&locked);
}

void gate_cq_forget_locked(const struct ibv_context *context)
{
	struct gate_cq *record, *next;

	for (record = records; record; record = next) {
		next = record->next;
		if (record->context != context)
			continue;
		unlink_locked(record);
		pthread_mutex_lock(&record->lock);
		record->is_going = true;
		pthread_mutex_unlock(&record->lock);
		put_locked(record);
	}
}

bool gate_cq_expect(struct gate_cq *record, struct gate_marker *marker)
{
	bool is_direct;

	pthread_mutex_lock(&record->lock);
	is_direct = record->directs;
	if (!is_direct) {
		record->is_touched = true;
		marker->next = record->markers;
		record->markers = marker;
	}
	pthread_mutex_unlock(&record->lock);
	return !is_direct;
}

static bool strike(struct gate_cq *record, const struct gate_marker *marker)
{
	struct gate_marker **at = &record->markers;

	while (*at && *at != marker)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = marker->next;
	return true;
}

void gate_cq_unexpect(struct gate_cq *record, struct gate_marker *marker,
		      bool was_posted)
{
	bool is_ours;

	pthread_mutex_lock(&record->lock);
	marker->is_left = was_posted && !marker->is_done && !record->is_going;
	is_ours = !marker->is_left;
	if (is_ours)
		strike(record, marker);
	pthread_mutex_unlock(&record->lock);
	if (is_ours)
		free(marker);
}

long gate_cq_expected(struct gate_cq *record)
{
	const struct gate_marker *marker;
	long count = 0;

	pthread_mutex_lock(&record->lock);
	for (marker = record->markers; marker; marker = marker->next)
		count++;
	pthread_mutex_unlock(&record->lock);
	return count;
}

/* A resize may take long: the program goes on to poll meanwhile. */
bool gate_cq_widen(struct gate_cq *record, const struct gate_verbs *verbs,
		   long markers)
{
	struct ibv_cq *cq = record->cq;
	int had = cq->cqe;

	pthread_mutex_lock(&record->lock);
	if (record->wide == had)
		had = record->narrow;
	pthread_mutex_unlock(&record->lock);
	if (had + markers <= cq->cqe)
		return true;
	if (verbs->resize_cq(cq, (int)(had + markers)))
		return false;
	pthread_mutex_lock(&record->lock);
	record->narrow = had;
	record->wide = cq->cqe;
	pthread_mutex_unlock(&record->lock);
	return true;
}

bool gate_cq_has_seen(struct gate_cq *record, const struct gate_marker *marker)
{
	bool is_done;

	pthread_mutex_lock(&record->lock);
	is_done = marker->is_done || record->is_going;
	pthread_mutex_unlock(&record->lock);
	return is_done;
}

/* Whether it is a marker's completion, which then is seen. */
static bool is_marker(struct gate_cq *record, const struct ibv_wc *wc)
{
	struct gate_marker *marker = record->markers;

	while (marker &&
	       (wc->wr_id != (uintptr_t)marker || wc->qp_num != marker->qp_num))
		marker = marker->next;
	if (!marker)
		return false;
	strike(record, marker);
	marker->is_done = true;
	if (marker->is_left)
		free(marker);
	return true;
}

/*
 * An original that is somebody else's may come back to ours, of before him,
 * which must not ask for the lock again.
 */
static int poll_behind(gate_poll_cq_fn original, struct ibv_cq *cq, int count,
		       struct ibv_wc *wc)
{
	uint32_t was = gate_mark.polling;
	int n;

	gate_mark.polling = 1;
	n = original(cq, count, wc);
	gate_mark.polling = was;
	return n;
}

/*
 * The program's: markers taken out. Fewer than wanted only where the CQ is
 * empty, since who sees that goes to sleep. How many, or the error.
 */
static int poll_filtered(struct gate_cq *record, gate_poll_cq_fn original,
			 int count, struct ibv_wc *wc)
{
	int n, kept = 0;

	do {
		int wanted = count - kept, from = kept;

		n = poll_behind(original, record->cq, wanted, wc + from);
		for (int i = from; i < from + n; i++)
			if (!is_marker(record, &wc[i]))
				wc[kept++] = wc[i];
		if (n < wanted)
			break;
	} while (kept < count);
	return n < 0 && !kept ? n : kept;
}

static int make_room(struct gate_cq *record)
{
	size_t room = record->room ? record->room * 2 : 64;
	struct ibv_wc *kept;

	if (record->first) {
		memmove(record->kept, record->kept + record->first,
			record->count * sizeof(*record->kept));
		record->first = 0;
	}
	if (record->count + BATCH <= record->room)
		return 0;
	kept = realloc(record->kept, room * sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	record->kept = kept;
	record->room = room;
	return 0;
}

static int reap(struct gate_cq *record)
{
	gate_poll_cq_fn original =
		gate_poll_cq_original(record->context->ops.poll_cq);
	int r = 0, n = 1;

	while (n > 0 && !record->is_going) {
		r = make_room(record);
		if (r)
			break;
		n = poll_filtered(record, original, BATCH,
				  record->kept + record->count);
		if (n > 0) {
			record->is_touched = true;
			record->count += (size_t)n;
		}
	}
	return r;
}

int gate_cq_reap(struct gate_cq *record)
{
	int r;

	pthread_mutex_lock(&record->lock);
	r = record->directs ? -EBUSY : reap(record);
	pthread_mutex_unlock(&record->lock);
	return r;
}

int gate_cq_direct_begin(struct ibv_cq *cq)
{
	struct gate_cq *record;
	sigset_t signals;
	int r;

	/* from then on the lock is held across forks */
	gate_mark_init();
	record = gate_cq_get(cq);
	if (!record)
		return -ENOMEM;
	quiet_lock(&record->lock, &signals);
	r = record->is_touched ? -EBUSY : 0;
	if (!r)
		record->directs++;
	quiet_unlock(&record->lock, &signals);
	gate_cq_put(record);
	return r;
}

void gate_cq_direct_undo(struct ibv_cq *cq)
{
	struct gate_cq *record = gate_cq_get(cq);
	sigset_t signals;

	if (!record)
		return;
	quiet_lock(&record->lock, &signals);
	if (record->directs)
		record->directs--;
	quiet_unlock(&record->lock, &signals);
	gate_cq_put(record);
}

bool gate_cq_is_direct(struct gate_cq *record)
{
	bool is_direct;

	pthread_mutex_lock(&record->lock);
	is_direct = record->directs;
	pthread_mutex_unlock(&record->lock);
	return is_direct;
}

/*
 * What the program's ibv_poll_cq() gets of a CQ that has a record. Who drains
 * takes the lock as well.
 */
int gate_cq_poll(struct gate_cq *record, gate_poll_cq_fn original, int count,
		 struct ibv_wc *wc, bool *ret_is_idle)
{
	int n = 0, more = 0;
	sigset_t signals;

	quiet_lock(&record->lock, &signals);
	for (; n < count && record->count; n++, record->count--)
		wc[n] = record->kept[record->first++];
	if (n < count)
		more = poll_filtered(record, original, count - n, wc + n);
	*ret_is_idle = !record->count && !record->markers;
	quiet_unlock(&record->lock, &signals);
	if (more > 0)
		n += more;
	return n || more >= 0 ? n : more;
}

/* What is in the CQ of the QP, and what is kept of it; its markers too. */
static void drop(struct gate_cq *record, uint32_t qp_num)
{
	struct gate_marker **at = &record->markers, *marker;
	struct ibv_wc *wc;
	size_t kept = 0;

	if (record->markers)
		reap(record);
	wc = record->kept + record->first;
	for (size_t i = 0; i < record->count; i++)
		if (wc[i].qp_num != qp_num)
			wc[kept++] = wc[i];
	record->count = kept;
	while ((marker = *at)) {
		if (marker->qp_num != qp_num) {
			at = &marker->next;
			continue;
		}
		*at = marker->next;
		marker->is_done = true;
		if (marker->is_left)
			free(marker);
	}
}

void gate_cq_drop(const struct ibv_context *context, uint32_t qp_num)
{
	struct gate_cq *record, **all;
	struct gate_locked locked;
	sigset_t signals;
	size_t count = 0;

	gate_lock(&locked);
	for (record = records; record; record = record->next)
		count++;
	all = count ? calloc(count, sizeof(struct gate_cq *)) : NULL;
	count = 0;
	for (record = all ? records : NULL; record; record = record->next)
		if (record->context == context) {
			record->refs++;
			all[count++] = record;
		}
	gate_unlock(&locked);
	for (size_t i = 0; i < count; i++) {
		quiet_lock(&all[i]->lock, &signals);
		drop(all[i], qp_num);
		quiet_unlock(&all[i]->lock, &signals);
		gate_cq_put(all[i]);
	}
	free(all);
}

/* One that is just polled counts: who polls it may wait for others. */
bool gate_cq_are_busy_locked(void)
{
	struct gate_cq *record;
	bool is_busy = false;

	for (record = records; record && !is_busy; record = record->next) {
		is_busy = pthread_mutex_trylock(&record->lock);
		if (is_busy)
			break;
		is_busy = record->count || record->markers;
		pthread_mutex_unlock(&record->lock);
	}
	return is_busy;
}
