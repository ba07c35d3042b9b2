/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbered messages that a peer writes all over a file, one after the other,
 * round after round: of any bytes it can be told which writes are in them.
 */
#ifndef DAXMR_TESTS_MESSAGES_H
#define DAXMR_TESTS_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#define MESSAGES_SIZE	(4UL << 20) /* of the file */
#define MESSAGES_STRIDE 4111U	    /* across words, blocks and page borders */
#define MESSAGES_SLOTS	1000U
#define MESSAGES_LENGTH 77U
#define MESSAGES_ROUNDS 250U /* each byte of a message is its round */
#define MESSAGES_MAX	((uint64_t)MESSAGES_SLOTS * MESSAGES_ROUNDS)

/* The number-th, from 0 on; returns its offset in the file. */
uint64_t message_make(uint64_t number, void *to);

/*
 * Whether slots [slot, end) have what the first `done` writes left there, and
 * nothing of a write that had not `begun`. *ret_what: a sentence, where not.
 */
bool messages_are_in(const unsigned char *bytes, uint64_t slot, uint64_t end,
		     uint64_t done, uint64_t begun, char ret_what[200]);

/* All slots; false with the sentence on stdout. */
bool messages_are_all(const unsigned char *bytes, uint64_t done,
		      uint64_t begun);

/* Opens the file and reads all of it. */
bool messages_read(const char *path, unsigned char *bytes);

#endif
