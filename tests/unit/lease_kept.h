/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the keeper share: a file, and a keeper that this process
 * talks to.
 */
#ifndef DAXMR_TESTS_LEASE_KEPT_H
#define DAXMR_TESTS_LEASE_KEPT_H

#include "keeper.h"
#include "lease_file.h"

#define MS 1000000LL

extern struct keeper keeper;
extern struct file file;

/* For cmocka. At the end the keeper ends, and the file has no lease. */
int kept_setup(void **state);
int kept_teardown(void **state);
#define keeper_test(name)                                                      \
	cmocka_unit_test_setup_teardown(name, kept_setup, kept_teardown)

/* The next message, which is of this kind. */
struct keeper_message kept_receive(enum keeper_kind kind);

/* Reports until the file has got into this state. */
struct keeper_message kept_until(uint32_t id, enum recall_state state);

/* The answer to keeper_acquire() or keeper_adopt(). */
int kept_answer(void);

struct keeper_request kept_request(uint32_t id);
/* For writing; the engine's allocation after it is over. */
void kept_acquire(uint32_t id);

/* Announces a call of the program's own; the answer. */
int kept_ready(uint32_t id, enum keeper_own kind);

/* The keeper has done with all that was sent to it; drops what it said. */
void kept_fence(void);

/* The next report: none has come before. */
void kept_next(enum recall_state to, enum recall_cause cause);

#endif
