/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What program and keeper say to each other: messages of one size over a
 * SOCK_SEQPACKET socketpair, descriptors by SCM_RIGHTS.
 *
 *   program                                   keeper
 *      |  (starts it)                            |
 *      |  <------------------------------- READY |  with its pid
 *      |  ACQUIRE id, file ------------------->  |
 *      |  <--------------- REPORT (FREE to HELD) |
 *      |  <---------------------- ACQUIRED error |
 *      |  ADOPT id, file --------------------->  |  of a keeper that died
 *      |  <---------------------- ACQUIRED error |
 *      |  <------------------------------ REPORT |  each change, with times
 *      |  <--------------------- ASK, a deadline |  may the file go?
 *      |  CONSENT ---------------------------->  |
 *      |  RELEASE id, a deadline ------------->  |
 *      |  <------------------ REPORT (..., FREE) |  the id is free again
 *      |  (closes the socket, or dies)           |  gives all back, ends
 *
 * The keeper never waits for the program: of reports that find the socket full
 * each file's last one is sent when there is room; `generation` counts them
 * all. A message of another size or version ends the conversation.
 */
#ifndef DAXMR_LEASE_KEEPER_PROTO_H
#define DAXMR_LEASE_KEEPER_PROTO_H

#include <stdint.h>

#define KEEPER_VERSION 1

/* Descriptors that the keeper is started with. */
enum keeper_fd {
	KEEPER_SOCKET_FD = 3,
	KEEPER_PIDFD_FD, /* of the program */
	KEEPER_BOARD_FD, /* board.h */
	KEEPER_FDS_END
};

enum keeper_kind {
	KEEPER_READY = 1,
	KEEPER_ACQUIRE,
	KEEPER_ADOPT,
	KEEPER_ACQUIRED,
	KEEPER_REPORT,
	KEEPER_ASK,
	KEEPER_CONSENT,
	KEEPER_RELEASE,
};

struct keeper_message {
	uint32_t version;
	uint32_t kind;
	uint32_t id;
	int32_t error; /* ACQUIRED, REPORT: -errno or 0 */
	union {
		int32_t pid;	     /* READY */
		int64_t deadline_ns; /* ASK, RELEASE */
		struct {
			int64_t consent_ns;
			int64_t pause_min_ns;
			int64_t pause_max_ns;
			int32_t type; /* F_WRLCK, F_RDLCK */
		} acquire;	      /* ACQUIRE, ADOPT */
		struct {
			int64_t at_ns;
			int64_t spent_ns;
			uint64_t generation;
			uint32_t from;
			uint32_t to;
			uint32_t cause;
		} report;
		char room[48];
	};
};

_Static_assert(sizeof(struct keeper_message) == 64, "of one size");

#endif
