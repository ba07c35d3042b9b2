/* SPDX-License-Identifier: BSD-2-Clause */
/* A client, as the server sees it: a connection and its messages. */
#ifndef PEER_H
#define PEER_H

#include <rdma/rdma_cma.h>

#include "window.h"

#define PEER_RECEIVES (WIRE_COMMITS + 2)
#define PEER_SENDS    (4 * PEER_RECEIVES)

/* One for each window. */
struct peer {
	struct window *window;
	struct rdma_cm_id *id; /* NULL: nobody is there */
	struct ibv_mr *mr;
	union wire_message received[PEER_RECEIVES];
	uint32_t generation; /* counts connections: old completions are old */
	uint32_t told;	     /* the window's shape */
	bool is_up;
	/* Commits that wait, first in first out: numbers in received[]. */
	uint32_t waiting[PEER_RECEIVES];
	uint32_t waiting_first;
	uint32_t waiting_count;
};

/* 0, or -errno: the request was refused, or the connection failed. */
int peer_accept(struct peer *peer, struct rdma_cm_id *id, struct ibv_cq *cq,
		struct rdma_conn_param *request);
void peer_refuse(struct rdma_cm_id *id, int error);
/* It is connected: it gets to know its window. */
void peer_greet(struct peer *peer);
/* It is gone, or is to go. No event of its id is out. */
void peer_drop(struct peer *peer);

/* Now and then: one that is there no more is dropped, within a minute or so. */
void peer_probe(struct peer *peer);

/* peers: all of them; the completion says whose it is. */
void peer_complete(struct peer *peers, uint32_t count,
		   const struct ibv_wc *completion);
/* What waited, now that the file may be ours again. */
void peer_go_on(struct peer *peer);
/* The file has changed: registers, and tells. -EAGAIN: not all, try again. */
int peer_fit(struct peer *peer);

#endif
