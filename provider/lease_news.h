/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who in this process is told what happens to a lease: any number of listeners
 * of each, beside the log.
 *
 *   daxmr-keeper --> engine's thread --> listeners of that lease, in no order
 *                                   \--> the log (lease_log.h)
 *
 * They are told by the engine's thread (lease.h): no descriptor of the program
 * means anything there, and it must not wait, neither for a thread of the
 * program nor for a reader. It may take a lock that nobody holds while he
 * waits for something, and hand on what it was told (event.h).
 *
 * A consent is asked for while a listener of the lease wants to be asked; it is
 * given when all that were asked have given theirs.
 */
#ifndef DAXMR_LEASE_NEWS_H
#define DAXMR_LEASE_NEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "lease.h"

/* Its owner's memory, from listen to unlisten. Both functions may be NULL. */
struct lease_listener {
	/* `missed`: reports before this one that nobody will hear of. */
	void (*changed)(struct lease_listener *listener,
			const struct recall_report *report, uint64_t missed);
	/*
	 * Somebody wants the file, and waits: lease_news_consent(), else it
	 * goes at the deadline. Not where only the program itself opens it.
	 */
	void (*asked)(struct lease_listener *listener, int64_t deadline_ns);
	/* With asked: how long before that the deadline is. */
	int64_t consent_ns;

	/* lease_news.c's own. */
	struct lease *lease;
	bool is_asked;
	struct lease_listener *next;
};

/*
 * From now on. If the lease is not HELD now, changed() is called before this
 * returns, in this thread, with the report that said so, and asked() if it has
 * not been answered: nothing falls in between. The caller has acquired the
 * lease, and releases it after lease_news_unlisten(). 0; in a forked child
 * -ESRCH, with a sentence.
 */
int lease_news_listen(struct lease_listener *listener, struct lease *lease);

/*
 * Nobody is telling it anything when this returns, or ever will. What it was
 * asked counts as agreed. Not from within its functions. In a forked child
 * nothing is done.
 */
void lease_news_unlisten(struct lease_listener *listener);

/* Agrees; nothing where it has not been asked. Any thread, never waits. */
void lease_news_consent(struct lease_listener *listener);

/* What the engine's observer says. */
void lease_news_changed(struct lease *lease, const struct recall_report *report,
			uint64_t missed);
void lease_news_asked(struct lease *lease, int64_t deadline_ns);

/* A forked child has no leases; all listeners are its parent's. */
void lease_news_child(void);

#endif
