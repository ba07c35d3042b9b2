/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>

#include "lease_news.h"
#include "leases.h"
#include "quiet.h"
#include "reason.h"

/*
 * In this order. `joining` makes one call of all that change how long a consent
 * is waited for, which the engine is told and answers. `lock` protects what
 * lease_heard() has of every lease, and the listeners; the engine's thread
 * takes it, so nobody waits for anything while he holds it, nor is interrupted:
 * a signal handler that opens a file waits for the engine.
 */
static pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void lease_news_child(void)
{
	pthread_mutex_init(&joining, NULL);
	pthread_mutex_init(&lock, NULL);
}

static int64_t longest_consent_locked(struct lease *lease)
{
	const struct lease_listener *at = lease_heard(lease)->first;
	int64_t longest_ns = 0;

	for (; at; at = at->next)
		if (at->asked && at->consent_ns > longest_ns)
			longest_ns = at->consent_ns;
	return longest_ns;
}

/* Nobody is left who has not agreed. */
static void agree_locked(struct lease *lease)
{
	struct lease_heard *heard = lease_heard(lease);
	const struct lease_listener *at = heard->first;

	while (at && !at->is_asked)
		at = at->next;
	if (at || !heard->asked_ns)
		return;
	heard->asked_ns = 0;
	lease_consent(lease);
}

static void ask_locked(struct lease_listener *listener, int64_t deadline_ns)
{
	if (!listener->asked)
		return;
	listener->is_asked = true;
	listener->asked(listener, deadline_ns);
}

static void catch_up_locked(struct lease_listener *listener)
{
	const struct lease_heard *heard = lease_heard(listener->lease);

	if (heard->last.to != RECALL_HELD && heard->last.to != RECALL_FREE &&
	    listener->changed)
		listener->changed(listener, &heard->last, 0);
	if (heard->asked_ns)
		ask_locked(listener, heard->asked_ns);
}

/* False: it is the parent's. */
static bool remove_locked(struct lease_listener *listener)
{
	struct lease_heard *heard = lease_heard(listener->lease);
	struct lease_listener **at = (struct lease_listener **)&heard->first;

	while (*at && *at != listener)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = listener->next;
	return true;
}

int lease_news_listen(struct lease_listener *listener, struct lease *lease)
{
	struct lease_heard *heard = lease_heard(lease);
	int64_t before_ns, after_ns;
	sigset_t signals;
	int r = 0;

	if (!leases_engine())
		return reason_set(-ESRCH, "a forked child has no leases");
	listener->lease = lease;
	listener->is_asked = false;
	pthread_mutex_lock(&joining);
	quiet_lock(&lock, &signals);
	before_ns = longest_consent_locked(lease);
	listener->next = heard->first;
	heard->first = listener;
	after_ns = longest_consent_locked(lease);
	catch_up_locked(listener);
	quiet_unlock(&lock, &signals);
	if (after_ns != before_ns)
		r = lease_ask(lease, after_ns);
	if (r) {
		quiet_lock(&lock, &signals);
		remove_locked(listener);
		agree_locked(lease);
		quiet_unlock(&lock, &signals);
		listener->lease = NULL;
	}
	pthread_mutex_unlock(&joining);
	return r;
}

void lease_news_unlisten(struct lease_listener *listener)
{
	struct lease *lease = listener->lease;
	int64_t before_ns, after_ns;
	sigset_t signals;

	if (!leases_engine() || !lease)
		return;
	pthread_mutex_lock(&joining);
	quiet_lock(&lock, &signals);
	before_ns = longest_consent_locked(lease);
	if (remove_locked(listener))
		agree_locked(lease);
	after_ns = longest_consent_locked(lease);
	listener->lease = NULL;
	listener->is_asked = false;
	quiet_unlock(&lock, &signals);
	if (after_ns != before_ns)
		lease_ask(lease, after_ns);
	pthread_mutex_unlock(&joining);
}

void lease_news_consent(struct lease_listener *listener)
{
	sigset_t signals;

	if (!leases_engine())
		return;
	quiet_lock(&lock, &signals);
	if (listener->is_asked) {
		listener->is_asked = false;
		agree_locked(listener->lease);
	}
	quiet_unlock(&lock, &signals);
}

/* What was asked is over: the file has gone, whoever has agreed. */
static void forget_asked_locked(struct lease_heard *heard)
{
	struct lease_listener *at = heard->first;

	heard->asked_ns = 0;
	for (; at; at = at->next)
		at->is_asked = false;
}

void lease_news_changed(struct lease *lease, const struct recall_report *report,
			uint64_t missed)
{
	struct lease_heard *heard = lease_heard(lease);
	struct lease_listener *at;
	sigset_t signals;

	quiet_lock(&lock, &signals);
	heard->last = *report;
	if (report->to != RECALL_BREAKING)
		forget_asked_locked(heard);
	for (at = heard->first; at; at = at->next)
		if (at->changed)
			at->changed(at, report, missed);
	quiet_unlock(&lock, &signals);
}

void lease_news_asked(struct lease *lease, int64_t deadline_ns)
{
	struct lease_heard *heard = lease_heard(lease);
	struct lease_listener *at;
	sigset_t signals;

	quiet_lock(&lock, &signals);
	heard->asked_ns = deadline_ns;
	for (at = heard->first; at; at = at->next)
		ask_locked(at, deadline_ns);
	agree_locked(lease);
	quiet_unlock(&lock, &signals);
}
