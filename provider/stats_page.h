/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a process says of its regions and leased files, for daxmr-list(1): pages
 * of shared memory that it writes to and others read.
 *
 * Where they are. System V shared memory, mode 0600, attached and at once
 * marked for removal. So each is gone with the last that has it attached,
 * however that ends; it takes no descriptor of the program and needs no thread,
 * keeper or file; nobody but the owner and root can attach it; a forked child
 * has none of its parent's (MADV_DONTFORK), and exec leaves it. Readers find
 * them in /proc/sysvipc/shm: by size, mark and creator. It is of an IPC
 * namespace: who looks at a container looks from within. (A memfd would have to
 * stand in a descriptor table, which a program with ODP alone has none of ours
 * of; a file would outlive kill -9.)
 *
 *   head    what, whose, counters of the process and of each device that it
 *           has opened (the first page's are used)
 *   region  STATS_SLOTS of them, each with a sequence
 *   file    STATS_SLOTS of them, likewise
 *   refusal the last one of the process, likewise (the first page's is used)
 *
 * Where a page is full another is added.
 *
 * A slot. One thread at a time writes to it: its sequence, which is odd
 * meanwhile, then the record, word by word, then the sequence again. A reader
 * copies and looks at the sequence before and after. It waits for nobody: a
 * record whose writer was stopped just then is left out. Counters are single
 * words. A device has its name before it is said to be there, and keeps it:
 * what becomes of one after another of its contexts adds up.
 *
 * A reader believes nothing: what is in there is the program's own.
 */
#ifndef DAXMR_STATS_PAGE_H
#define DAXMR_STATS_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gate/gate.h"
#include "recall.h"
#include "refusal.h"
#include "route.h"

#define STATS_MAGIC   0x7374617473786d64ULL
#define STATS_VERSION 6
#define STATS_SLOTS   64
#define STATS_DEVICES 16
#define STATS_NAME    256
#define STATS_WHY     512
#define STATS_BUCKETS 32

/* Beside its strategies and refusals. */
enum stats_count {
	STATS_DEREGISTERED,
	STATS_UNLISTED, /* for which there was no room */
	STATS_COUNTS
};

/* Of a device: what pinned regions cost those who use it. */
enum stats_device_count {
	STATS_GATE_CLOSINGS,
	STATS_GATE_NS, /* closed, in all */
	STATS_WAITS,   /* posts that came to a closed gate */
	STATS_WAITED_NS,
	STATS_KEYS_CHANGED,
	STATS_SEVERED, /* queue pairs */
	STATS_DRAINED, /* queue pairs; + enum gate_left: those that were not */
	STATS_DEVICE_COUNTS = STATS_DRAINED + GATE_LEFTS
};

/* By errno; [0]: one that is none of these. */
#define STATS_ERRNOS 134

struct stats_region {
	uint64_t is_there;
	uint64_t addr;
	uint64_t length;
	int64_t since_ns; /* CLOCK_MONOTONIC */
	uint64_t dev;	  /* the first of its files */
	uint64_t ino;
	uint32_t more_files; /* beside the first */
	uint32_t strategy;   /* enum strategy */
	uint32_t access;     /* the program's own flags */
	uint32_t reserved;
	/* Pinned: queue pairs that went with it; its rkey. */
	uint64_t severed;
	uint64_t keys_changed;
	char device[64];
	char name[STATS_NAME]; /* the file's; empty where nobody knows */
};

/* A leased file. */
struct stats_file {
	uint64_t is_there;
	uint64_t dev;
	uint64_t ino;
	uint64_t state;	   /* enum recall_state */
	int64_t since_ns;  /* in that state, CLOCK_MONOTONIC */
	int64_t leased_ns; /* since when there is a lease */
	uint64_t spent_ns[RECALL_STATES];
	/* Others wanted it; the program itself opened it once more. */
	uint64_t recalls;
	uint64_t own_opens;
	uint64_t yielded;
	uint64_t retaken;
	uint64_t merged;
	uint64_t lost;
	uint64_t forced; /* given back before all was written */
	uint64_t changed;
	uint64_t theirs; /* blocks: struct daxmr_stats */
	uint64_t conflicts;
	uint64_t cut_off;
	uint64_t grown;
	uint64_t dropped;
	uint64_t flush_errors;
	/* Blocks that the keeper looked at, wrote, could not write. */
	uint64_t compared;
	uint64_t copied;
	uint64_t failed;
	uint64_t missed; /* reports that were left out */
	/*
	 * Of recalls, from the break to the file being free: [i] those of less
	 * than 2^i us and no less than half of that.
	 */
	uint64_t handed_over;
	uint64_t longest_ns;
	uint64_t all_ns;
	uint64_t bucket[STATS_BUCKETS];
};

/* A registration that failed. */
struct stats_refusal {
	int64_t at_ns; /* CLOCK_MONOTONIC; 0: there was none */
	uint64_t error;
	uint64_t reason;     /* enum refusal */
	char why[STATS_WHY]; /* the sentence; empty: the kernel knows */
};

#define STATS_WORDS(record) (sizeof(record) / sizeof(uint64_t))

struct stats_region_slot {
	_Atomic uint64_t sequence;
	_Atomic uint64_t word[STATS_WORDS(struct stats_region)];
};

struct stats_file_slot {
	_Atomic uint64_t sequence;
	_Atomic uint64_t word[STATS_WORDS(struct stats_file)];
};

struct stats_refusal_slot {
	_Atomic uint64_t sequence;
	_Atomic uint64_t word[STATS_WORDS(struct stats_refusal)];
};

struct stats_device {
	_Atomic uint64_t is_there; /* last to be written */
	char name[64];
	_Atomic uint64_t count[STATS_DEVICE_COUNTS];
};

struct stats_page {
	_Atomic uint64_t magic; /* last of the head's to be written */
	uint64_t version;
	int64_t since_ns;
	uint64_t number; /* of this process: 0, 1, ... */
	_Atomic uint64_t registered[STRATEGIES];
	_Atomic uint64_t count[STATS_COUNTS];
	_Atomic uint64_t refused[STATS_ERRNOS];
	_Atomic uint64_t refused_for[REFUSALS];
	struct stats_device device[STATS_DEVICES];
	struct stats_region_slot region[STATS_SLOTS];
	struct stats_file_slot file[STATS_SLOTS];
	struct stats_refusal_slot refusal;
};

/* The slot's one writer. No fences: each word is ordered by itself. */
static inline void stats_slot_write(_Atomic uint64_t *sequence,
				    _Atomic uint64_t *word, const void *record,
				    size_t words)
{
	const uint64_t *from = record;
	uint64_t now = atomic_load_explicit(sequence, memory_order_relaxed);

	atomic_store_explicit(sequence, now + 1, memory_order_relaxed);
	for (size_t i = 0; i < words; i++)
		atomic_store_explicit(&word[i], from[i], memory_order_release);
	atomic_store_explicit(sequence, now + 2, memory_order_release);
}

/* False: it was being written; what is in *ret makes no sense then. */
static inline bool stats_slot_read(const _Atomic uint64_t *sequence,
				   const _Atomic uint64_t *word, void *ret,
				   size_t words)
{
	uint64_t before = atomic_load_explicit(sequence, memory_order_acquire);
	uint64_t *to = ret;

	for (size_t i = 0; i < words; i++)
		to[i] = atomic_load_explicit(&word[i], memory_order_acquire);
	return !(before & 1) &&
	       atomic_load_explicit(sequence, memory_order_relaxed) == before;
}

#endif
