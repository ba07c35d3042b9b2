/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much may go into shadows: they are in DRAM, an MR pins them, and what is
 * in them has to be in the file before the kernel takes the lease away.
 *
 * Asked before bytes are staged. Nothing is reserved by the answer: two threads
 * that stage at the same moment may both get it.
 */
#ifndef DAXMR_STAGE_LIMITS_H
#define DAXMR_STAGE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * 0, or -ENOMEM with a sentence (reason.h): so many bytes more are too many.
 * max: of all that is staged, CONFIG_STAGE_MAX_AUTO. Some files of /proc and
 * /sys are read each time.
 */
int stage_limits_check(uint64_t bytes, uint64_t max);

/*
 * The same for so many bytes that are pinned, and are to be once more: a region
 * that has a window (window/window.h).
 */
int stage_limits_check_again(uint64_t bytes);

/* No limit, or none that can be told. */
#define STAGE_NO_LIMIT UINT64_MAX

#define STAGE_CGROUP_MAX 512

struct stage_numbers {
	uint64_t max;	    /* stage_max, or CONFIG_STAGE_MAX_AUTO */
	uint64_t staged;    /* in shadows of this process */
	uint64_t available; /* MemAvailable */
	uint64_t memlock;   /* what this process may pin */
	uint64_t pinned;
	/* Of the control groups above it the one with the least room. */
	uint64_t cgroup_limit;
	uint64_t cgroup_used; /* without what the kernel would take back */
	char cgroup_file[STAGE_CGROUP_MAX];
	uint64_t break_s; /* lease-break-time; 0: for ever */
	uint64_t rate;	  /* to the file, bytes a second */
};

/*
 * The judgement on these numbers: 0 or -ENOMEM with its sentence in text, and
 * the thread's reason marked.
 */
int stage_limits_judge(const struct stage_numbers *numbers, uint64_t bytes,
		       char *text, size_t size);

int stage_limits_judge_again(const struct stage_numbers *numbers,
			     uint64_t bytes, char *text, size_t size);

/*
 * What /proc and /sys/fs/cgroup, or folders that look like them, say: all but
 * max, staged and rate. memlock is the soft limit, and none for who has
 * CAP_IPC_LOCK where the kernel asks for it.
 */
void stage_limits_read(const char *proc, const char *cgroup, uint64_t memlock,
		       struct stage_numbers *ret);

/* CAP_IPC_LOCK in the effective set, where the kernel asks for it. */
bool stage_limits_has_ipc_lock(const char *proc);

/* Measured once, in a few ms: bytes a second. */
uint64_t stage_limits_rate(void);

#endif
