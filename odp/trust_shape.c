/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where in a memory the messages of the trust test lie, for pages of 4 KiB:
 *
 *	0  300 bytes in the middle of a page, at offset 6000; two packets
 *	1  700 bytes across a page's end, which is no packet's end
 *	2  the last byte of a page
 *	3  two bytes, one on each side of a page's end
 *	4  777 bytes that end with a page
 *	5  one whole page
 *	6  two pages and 501 bytes from offset 13 of a page; 34 packets
 *	7  three pieces: in a page, across an end, across an end by one byte;
 *	   in one piece: 435 bytes across an end
 *
 * They don't overlap, and bytes that nobody may touch lie between them.
 */
#include "trust_shape.h"

static uint32_t min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static struct message one_piece(const struct shape_limits *limits,
				uint32_t start, uint32_t length)
{
	struct message message = {.pieces = 1, .head = limits->head};

	message.length = min32(length, limits->length);
	message.piece[0].offset = start - limits->head;
	message.piece[0].length = message.length + limits->head;
	return message;
}

static struct message three_pieces(const struct shape_limits *limits)
{
	struct message message = {.pieces = 3, .head = limits->head};
	const uint32_t page = limits->page;

	message.piece[0].offset = 9 * page + 1003 - limits->head;
	message.piece[0].length = 100 + limits->head;
	message.piece[1].offset = 10 * page - 50;
	message.piece[1].length = min32(333, limits->length - 102);
	message.piece[2].offset = 11 * page - 1;
	message.piece[2].length = 2;
	message.length = 102 + message.piece[1].length;
	return message;
}

struct message shape_awkward(const struct shape_limits *limits, unsigned int i)
{
	const uint32_t page = limits->page;

	switch (i) {
	case 0:
		return one_piece(limits, page + page / 2 - 144, 300);
	case 1:
		return one_piece(limits, 2 * page - 100, 700);
	case 2:
		return one_piece(limits, 3 * page - 1, 1);
	case 3:
		return one_piece(limits, 4 * page - 1, 2);
	case 4:
		return one_piece(limits, 5 * page - min32(777, limits->length),
				 777);
	case 5:
		return one_piece(limits, 6 * page, page);
	case 6:
		return one_piece(limits, 7 * page + 13, 2 * page + 501);
	default:
		if (limits->pieces >= 3)
			return three_pieces(limits);
		return one_piece(limits, 10 * page - 50, 435);
	}
}

struct message shape_packed(const struct shape_limits *limits, uint32_t length,
			    uint32_t *at)
{
	struct message message =
		one_piece(limits, *at + 5 + limits->head, length);

	*at = message.piece[0].offset + message.piece[0].length;
	return message;
}

struct message shape_word(const struct shape_limits *limits, unsigned int i,
			  bool awkward)
{
	const uint32_t page = limits->page;
	const uint32_t at[SHAPE_ATOMICS] = {
		page + page / 2 - 144,
		3 * page - 8, /* the last word of a page */
		4 * page,     /* the first */
		page + page / 2 - 128,
	};

	return one_piece(limits, awkward ? at[i] : 8 + 24 * i, 8);
}

uint32_t message_offset(const struct message *message, uint32_t n)
{
	unsigned int i;

	n += message->head;
	for (i = 0; i + 1 < message->pieces; i++) {
		if (n < message->piece[i].length)
			break;
		n -= message->piece[i].length;
	}
	return message->piece[i].offset + n;
}
