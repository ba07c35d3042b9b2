/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The leases of an engine, and what is said with the keeper about them. All of
 * it belongs to the engine thread, but what is marked atomic.
 */
#ifndef DAXMR_LEASE_LEASE_TABLE_H
#define DAXMR_LEASE_LEASE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "keeper.h"
#include "lease.h"

enum lease_phase {
	LEASE_ACQUIRING,
	LEASE_LIVE,
	LEASE_RELEASING,
	LEASE_ENDED
};

struct lease {
	struct lease_engine *engine;
	struct lease_table *table;
	struct lease *next;
	uint32_t id; /* the board's slot */
	unsigned int refs;
	enum lease_phase phase;
	dev_t dev;
	ino_t ino;
	int type;
	int fd;		     /* in the engine's descriptor table */
	int error;	     /* of the last phase */
	bool is_waiting;     /* for the keeper to answer */
	uint64_t generation; /* of the last report */
	int64_t deadline_ns; /* RELEASING */
	atomic_bool has_consent;
};

struct lease_table {
	const struct lease_config *config;
	struct keeper keeper;
	struct lease *leases;
	struct lease *by_id[BOARD_SLOTS];
	uint32_t next_id;
	int64_t next_start_ns; /* of a keeper, after one died */
	bool is_keeper_dead;
};

/* One lease more on this file, whose fd is the table's from then on. */
int table_acquire(struct lease_table *table, struct lease_engine *engine,
		  int fd, int type, uint64_t offset, uint64_t length,
		  struct lease **ret);

/* The last count: gives it back, waits, frees it. */
int table_release(struct lease_table *table, struct lease *lease,
		  int64_t deadline_ns);

/* Messages that are there; starts another keeper if it is dead and time. */
void table_hear(struct lease_table *table);

/* Consents that were given meanwhile. */
void table_send_consents(struct lease_table *table);

/* poll(2)'s timeout until table_hear() has something to do by itself. */
int table_timeout_ms(const struct lease_table *table);

#endif
