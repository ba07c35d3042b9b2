/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What server and client say to each other. Numbers are little endian, as
 * those in the file.
 *
 *   client                                  server
 *   rdma_connect() with wire_hello   ->
 *                                    <-     WINDOW: where it is, and its keys
 *   reads and writes, one-sided
 *   COMMIT: blocks and their words   ->     durable, then
 *                                    <-     COMMITTED
 *                                    <-     WINDOW: it has another size, or
 *                                           some of it was cut off
 *   TAKEN: goes by the new one       ->     the old key ends
 *
 * Until TAKEN commits go by what the client knew before: those of blocks from
 * `kept` on are refused.
 *
 * A connection delivers in order: a COMMIT may follow its writes at once.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "not written for big-endian machines"
#endif

#define WIRE_MAGIC   0x31736264U /* "dbs1" */
#define WIRE_RUN     64U	 /* blocks in a commit */
#define WIRE_COMMITS 14U	 /* that a client may have without an answer */

/* Private data of the connection. */
struct wire_hello {
	uint32_t magic;
	uint32_t window;
};

/* Private data of a refusal. */
struct wire_refusal {
	uint32_t magic;
	uint32_t error; /* errno */
};

enum wire_kind {
	WIRE_WINDOW = 1,
	WIRE_TAKEN,
	WIRE_COMMIT,
	WIRE_COMMITTED
};

struct wire_head {
	uint32_t kind;
	uint32_t id; /* of the window's shape, or the commit */
};

struct wire_window {
	struct wire_head head;
	uint32_t blocks;
	uint32_t blocks_max; /* the index has so many words */
	uint32_t kept;	     /* blocks that have been there all the time;
				those behind are empty */
	uint32_t unused;
	uint64_t index;
	uint64_t data;
	uint32_t index_rkey;
	uint32_t data_rkey;
};

/* Blocks `first` to `first + count`, one after the other. */
struct wire_commit {
	struct wire_head head;
	uint32_t first;
	uint32_t count;
	uint64_t words[WIRE_RUN]; /* store.h */
};

struct wire_committed {
	struct wire_head head;
	uint32_t error; /* errno, or 0 */
	uint32_t unused;
};

union wire_message {
	struct wire_head head;
	struct wire_window window;
	struct wire_commit commit;
	struct wire_committed committed;
};

#endif
