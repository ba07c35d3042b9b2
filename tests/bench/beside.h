/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a peer's messages come into the server's memory, for beside.c: by verbs,
 * or by librpma. What fails ends the program, with a sentence.
 */
#ifndef DAXMR_TESTS_BESIDE_H
#define DAXMR_TESTS_BESIDE_H

#include <stdbool.h>
#include <stddef.h>

#include <infiniband/verbs.h>

/* Sent together; what they have brought is then made durable. */
#define BATCH 16

struct transport {
	/* Two ends in this process, connected; the peer sends what is in
	 * `source`. */
	void (*open)(char *source, size_t length);
	/* The server's memory: what the peer writes to. */
	void (*reg)(char *addr, size_t length, bool on_demand, bool prefetch);
	/*
	 * BATCH messages of so many bytes, one behind the other, from and to so
	 * far behind the start; only the last one asks for a completion.
	 */
	void (*post)(size_t from, size_t to, size_t message);
	/* How many completions there were: 0 or 1. */
	int (*poll)(struct ibv_wc *wc);
};

extern const struct transport by_verbs, by_rpma;

/*
 * ibv_advise_mr() of rdma-core 44 has nothing behind it for rxe, whose kernel
 * has: later ones have this there.
 */
void let_advise(struct ibv_context *context);

#endif
