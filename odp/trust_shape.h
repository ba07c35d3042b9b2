/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where in a memory the messages of the trust test lie.
 */
#ifndef DAXMR_ODP_TRUST_SHAPE_H
#define DAXMR_ODP_TRUST_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust_loop.h"

#define SHAPE_MESSAGES 8
#define SHAPE_ATOMICS  4
/* Pages of a memory that messages can lie in, and where they are packed. */
#define SHAPE_PAGES	   12
#define SHAPE_PACKED_PAGES 4
/* Packed messages of at most this length lie in one page. */
#define SHAPE_SHORT 512

struct message {
	unsigned int pieces;
	struct {
		uint32_t offset;
		uint32_t length;
	} piece[LOOP_SGES];
	uint32_t length; /* of what is sent */
	/* bytes in front of it that the device may fill: the GRH of UD */
	uint32_t head;
};

struct shape_limits {
	uint32_t page;
	uint32_t length;     /* of a message */
	unsigned int pieces; /* of a message; 1: it has to lie in one piece */
	uint32_t head;
};

/* Message number i, at the places where devices go wrong. */
struct message shape_awkward(const struct shape_limits *limits, unsigned int i);

/*
 * A message of that length in one piece after the one that ended at *at, with
 * a gap between them: for the other end.
 */
struct message shape_packed(const struct shape_limits *limits, uint32_t length,
			    uint32_t *at);

/* Where in the memory byte n of the message lies. */
uint32_t message_offset(const struct message *message, uint32_t n);

/* Message i where the messages are the words of atomic operations. */
struct message shape_word(const struct shape_limits *limits, unsigned int i,
			  bool awkward);

#endif
