/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that is a thread of the test, which the engine finds by its socket:
 * it says yes to everything, but refuses and dies where it is told to. No lease
 * is taken, and nothing is written.
 */
#ifndef DAXMR_TESTS_LEASE_FAKE_KEEPER_H
#define DAXMR_TESTS_LEASE_FAKE_KEEPER_H

#include <stdbool.h>

#include "keeper_proto.h"

/* What the next conversations are to do. Any thread. */
void fake_start(void);
void fake_stop(void);
const char *fake_path(void);

/* The one that runs dies at the next of these, which is not answered. */
void fake_die_at(enum keeper_kind kind);

/* At once: the engine finds it gone. */
void fake_die(void);

/* It hears nothing more from the next of these on, until it goes on there. */
void fake_stop_at(enum keeper_kind kind);
void fake_go_on(void);

/*
 * From now on an ATTACH with a shadow is answered so, if it is the first of its
 * range, or if it is of a range that a keeper has had before.
 */
void fake_refuse_new(int error);
void fake_refuse_old(int error);
/* The same of one without. */
void fake_refuse_range(int error);

/* REPORT RECALL_WRITTEN of a pass that began before any FLUSH was heard. */
void fake_tell_written(uint32_t id, uint32_t ticket);
/* Is a FLUSH answered with its ticket (as it is at first), or not at all? */
void fake_answer_flush(bool is_answered);

/* How many of a kind have been heard; the ticket of the last. */
unsigned int fake_heard(enum keeper_kind kind);
uint32_t fake_last_ticket(enum keeper_kind kind);

/* How many DETACH did not hold any more when they were heard. */
unsigned int fake_canceled(void);

/* Of the last RELEASE. */
int64_t fake_deadline_ns(void);

/* How many conversations have begun. */
unsigned int fake_keepers(void);

#endif
