/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of leased.h share: leased.c (its life, what it is told),
 * leased_act.c (the actions of its state table), leased_news.c (unannounced
 * changes), leased_persist.c (what the program wants to be durable).
 */
#ifndef DAXMR_LEASE_LEASED_PARTS_H
#define DAXMR_LEASE_LEASED_PARTS_H

#include "leased.h"

/* Those of the table that have anything to do, from what is attached. */
void leased_choose_actions(struct leased *leased);
int leased_take(struct leased *leased);
int leased_check(struct leased *leased);
/* So much CPU was spent on a write-back. */
void leased_pay(struct leased *leased, int64_t spent_ns);
/* After each step: does somebody wait, who has waited for long? */
void leased_hurry(struct leased *leased);
/* Hands on what act_tell() held back. */
void leased_send_report(struct leased *leased);
int64_t leased_break_time_ns(const struct leased_shared *shared);

/* The part that the program wants to be durable: leased_persist.c. */
int leased_act_persist(void *arg, bool is_lent);
void leased_act_restart_persist(void *arg);
int leased_act_write_through(void *arg);

/* The lease was taken: from now on each change is heard. */
void leased_arm(struct leased *leased);
/* Only that somebody closes the file is heard. */
void leased_disarm(struct leased *leased);
/* Back in HELD after a change that took so long to merge. */
void leased_rest(struct leased *leased, int64_t at_ns, int64_t spent_ns);
/* What has been seen of the file and is still to be told. */
void leased_tell_news(struct leased *leased);
/* Ends a rest that is over. When there is more to do. */
int64_t leased_run_news(struct leased *leased);
/* The engine is through with it: OWN_END. */
void leased_has_allocated(struct leased *leased);
/* A pass of the merge is over. True: news asks for another. */
bool leased_passes_again(struct leased *leased);

#endif
