/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For programs under the preload that lease a file and go on as if they had
 * not: the file, and the lease by way of the preload's own door to libdaxmr.
 * Nothing of daxmr is linked.
 */
#ifndef DAXMR_TESTS_OWN_LEASE_H
#define DAXMR_TESTS_OWN_LEASE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine.h"

#define PAGE	  4096
#define FILE_SIZE (16 * PAGE)
#define WAIT_SEC  60

extern const struct engine *own_engine;
extern struct lease *own_lease;
extern char own_path[256]; /* of the leased file */
extern int own_fd;	   /* on it, open for reading and writing */

/* For main(): 77 and a sentence where files cannot be leased, else 0. */
int own_cannot_lease(void);

/* cmocka's setup and teardown: a leased file; it ends HELD, and unlocked. */
int own_setup(void **state);
int own_teardown(void **state);

bool own_is_held(void);
void own_wait_until_held(void);

/*
 * Nothing happens to the lease between the two: it is neither broken, though
 * for a moment, nor is a change taken for somebody else's. The keeper's own
 * count of what it reported is compared, when it has seen all that the program
 * did until then.
 */
void own_expect_quiet(void);
void own_check_quiet(void);

/* Until the condition holds, WAIT_SEC at most. */
typedef bool own_condition(void *arg);
void own_wait_for(own_condition *condition, void *arg, const char *what);

/* Another process opens and closes the file. */
void own_check_let_in(void);

double own_now(void);

#endif
