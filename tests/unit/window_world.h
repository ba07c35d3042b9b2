/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A region with a window for the tests of window.h: the device
 * (window_fake.h), the stage and the lease are the test's own.
 */
#ifndef DAXMR_TESTS_WINDOW_WORLD_H
#define DAXMR_TESTS_WINDOW_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "unit.h"
#include "window/window_parts.h"
#include "window/window_test.h"
#include "window_fake.h"

#define PAGE   4096UL
#define LENGTH (16 * PAGE)
#define OFFSET (3 * PAGE) /* in the file */
#define DEV    7
#define INO    11
#define REMOTE                                                                 \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |                    \
	 IBV_ACCESS_REMOTE_ATOMIC)

extern char *memory; /* the program's mapping of the shadow */
extern int shadow_fd;
extern struct real_verbs real;
extern struct ibv_context *context;
extern struct ibv_pd *pd;
extern struct ibv_mr *mr;
extern struct window *window;
extern struct lease_terms terms;
extern struct lease_listener *listener; /* NULL: nobody listens */
extern bool is_one_piece;
extern _Atomic uint64_t file_size;
extern _Atomic enum recall_state state_now;
extern struct window_verdict verdict;
/* Never looked into. */
extern const struct stage *const stage;

/* How the shadow was last made to follow the file: what was bound then. */
extern _Atomic int clearings;
extern _Atomic size_t cleared_at;
extern atomic_bool has_no_room; /* for locked memory */
extern _Atomic int unseen;	/* so many looks see no size */

extern struct window_ear ear;
extern _Atomic int told; /* the last error; 0: nothing */
extern _Atomic int tellings;

int world_set_up(void **state);
/* Nothing of ours is left in the program's PD. */
int world_tear_down(void **state);

struct region_call world_call(unsigned int access);
/* mr, and its window; all of it goes again. */
void world_open(void);
void world_close(void);

/* The engine says that something has happened to the file. */
void world_hear(void);
/* What the thread was at is over. */
void world_settle(void);
void world_wait_reach(size_t length);
void world_wait_dealloced(void);

#endif
