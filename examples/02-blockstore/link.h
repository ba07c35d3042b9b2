/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's connection. */
#ifndef LINK_H
#define LINK_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>

#include "wire.h"

#define LINK_RECEIVES (WIRE_COMMITS + 4)

struct link {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *completions;
	struct ibv_cq *cq;
	struct ibv_mr *messages_mr;
	struct ibv_mr *memory_mr;
	union wire_message received[LINK_RECEIVES];
	union wire_message sent[WIRE_COMMITS + 1]; /* the last: TAKEN */
	struct wire_window window;		   /* that we go by */
	struct wire_window next;		   /* that we are to go by */
	bool has_next;
	bool is_probed; /* the server's device is to answer */
	char why[256];	/* the last failure: what, and what to do */
};

/* Where to, and the client's own memory. */
struct link_target {
	char host[256];
	char port[8];
	uint32_t window;
	void *memory;
	size_t length;
	uint32_t depth; /* reads and writes at a time */
};

enum link_kind {
	LINK_READ,	/* a read is done: number */
	LINK_COMMITTED, /* number: of the commit; error: -errno or 0 */
	LINK_WINDOW	/* it has another size: link_take_window() */
};

struct link_news {
	enum link_kind kind;
	uint32_t number;
	int error;
};

/* 0, or -errno and link->why. Close it in either case. */
int link_open(struct link *link, const struct link_target *target);
void link_close(struct link *link);

/* One-sided; offset is in the window's data. Writes are silent. */
int link_read(struct link *link, uint32_t number, void *to, size_t length,
	      uint64_t offset);
int link_read_index(struct link *link, uint32_t number, void *to,
		    size_t length);
int link_write(struct link *link, const void *from, size_t length,
	       uint64_t offset);
/* What was written before is there when the server gets it. */
int link_commit(struct link *link, const struct wire_commit *commit);
/* Nothing is under way: from now on by the new window. */
int link_take_window(struct link *link);

/*
 * The next thing that happens: 0; -EINTR: a signal came; else the connection is
 * gone, and link->why. That of a server whose machine is gone is within a
 * minute or so.
 */
int link_wait(struct link *link, struct link_news *ret);

#endif
