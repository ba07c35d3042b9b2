/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr list: what running programs have registered, from the pages that they
 * share (stats_page.h).
 *
 *	list.c             arguments, flow, exit status
 *	list_wish.c        of which processes
 *	list_find.c        whose pages there are, and what is in them
 *	list_refused.c     what was refused, in words
 *	list_access.c      access flags, in words
 *	list_device.c      what pinned regions have cost a device's users
 *	list_text.c        a line for each region, or all that is known of it
 *	list_json.c        for programs
 *	list_prometheus.c  for a collector
 */
#ifndef DAXMR_CLI_LIST_H
#define DAXMR_CLI_LIST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "stats_page.h"

struct list_device {
	char name[64];
	uint64_t count[STATS_DEVICE_COUNTS];
};

struct list_process {
	pid_t pid;
	uid_t uid;
	char command[32]; /* empty: it is going just now */
	uint64_t registered[STRATEGIES];
	uint64_t count[STATS_COUNTS];
	uint64_t refused[STATS_ERRNOS];
	uint64_t refused_for[REFUSALS];
	struct stats_refusal last_refusal;	  /* at_ns 0: there was none */
	struct list_device device[STATS_DEVICES]; /* in which gates closed */
	size_t devices;
	struct stats_region *region; /* by address */
	size_t regions;
	struct stats_file *file;
	size_t files;
};

struct list {
	struct list_process *process; /* by number */
	size_t count;
	size_t hidden; /* processes that are not to be looked at by us */
};

/*
 * All of them, or of count PIDs those that there are. 0; -errno: where they
 * stand cannot be read.
 */
int list_find(const pid_t *pids, size_t count, struct list *ret);
void list_free(struct list *list);

/*
 * Processes by their numbers, all where there are none. CLI_OK, or another exit
 * status and it has been said why.
 */
struct list_wish {
	pid_t *pid;
	size_t count;
};
int list_wish_read(char **texts, size_t count, struct list_wish *ret);
void list_wish_free(struct list_wish *wish);
/* What list_find() has given: its sentence, and the exit status. */
int list_say(int error);

/* The lease of a region's (first) file; NULL: there is none. */
const struct stats_file *list_file_of(const struct list_process *process,
				      const struct stats_region *region);
/* A name that some region of it has; NULL: none does. */
const char *list_name_of(const struct list_process *process,
			 const struct stats_file *file);

/* "EBUSY", ...; [0]: "unknown". */
const char *list_errno_name(size_t error);
/* "EBUSY 2, ENOMEM 1"; to be freed. NULL: no memory. */
char *list_refused(const uint64_t refused[STATS_ERRNOS]);
/* "open-elsewhere 2, memlock 1", likewise. */
char *list_refused_for(const uint64_t refused_for[REFUSALS]);

/* Of all its devices. */
uint64_t list_device_sum(const struct list_process *process,
			 enum stats_device_count what);
/* "late", "kind", ...: why QPs were not drained. */
const char *list_left_name(enum gate_left why);
/* "late 2, kind 1"; to be freed. NULL: no memory. */
char *list_left(const struct list_device *device);

/* The bits of IBV_ACCESS_*, "local-write remote-read"; to be freed. NULL: no
 * memory.
 */
char *list_access(uint32_t access);

/* "held", "breaking", ... */
const char *list_state_name(const struct stats_file *file);

/* For how long it has been in this state, if it is now until now. */
uint64_t list_spent_ns(const struct stats_file *file, uint64_t state);

/*
 * So many percent of its recalls took no longer than this; 0: there was none.
 * As exact as the buckets are: up to twice of what it was.
 */
uint64_t list_quantile_us(const struct stats_file *file, unsigned int percent);

void list_text(const struct list *list);
/* 0, or -ENOMEM. */
int list_long(const struct list *list);
int list_json(const struct list *list);
int list_prometheus(const struct list *list);

#endif
