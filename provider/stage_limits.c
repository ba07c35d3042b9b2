/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much may go into shadows: stage_limits.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "config.h"
#include "raw.h"
#include "reason.h"
#include "refusal.h"
#include "shadows.h"
#include "stage_limits.h"

#define SAMPLE (2UL << 20)
/*
 * Persistent memory is slower than the DRAM that is measured, and the keeper
 * may have to share a processor.
 */
#define CAUTION 4
/* Where there is no memory for a sample: a slow machine's. */
#define SLOW_RATE (256UL << 20)

#define SIZE_TEXT 16

static const char *size_text(uint64_t bytes, char text[SIZE_TEXT])
{
	static const char units[][6] = {"bytes", "KiB", "MiB",
					"GiB",	 "TiB", "PiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(text, SIZE_TEXT, unit ? "%.1f %s" : "%.0f %s", value,
		 units[unit]);
	return text;
}

/* For the sentence. */
struct sizes {
	char want[SIZE_TEXT];
	char have[SIZE_TEXT];
	char limit[SIZE_TEXT];
};

/* Is there no room for `bytes` more where `used` of `limit` are taken? */
static bool exceeds(uint64_t bytes, uint64_t used, uint64_t limit,
		    struct sizes *ret)
{
	if (limit == STAGE_NO_LIMIT || (used <= limit && bytes <= limit - used))
		return false;
	size_text(bytes, ret->want);
	size_text(used, ret->have);
	size_text(limit, ret->limit);
	return true;
}

/* What is staged is not available any more. */
static uint64_t half_of_memory(const struct stage_numbers *numbers)
{
	return numbers->available == STAGE_NO_LIMIT
		       ? STAGE_NO_LIMIT
		       : numbers->available / 2 + numbers->staged / 2;
}

static int judge_memory(const struct stage_numbers *numbers, uint64_t bytes,
			char *text, size_t size)
{
	bool is_auto = numbers->max == CONFIG_STAGE_MAX_AUTO;
	uint64_t max = is_auto ? half_of_memory(numbers) : numbers->max;
	struct sizes sizes;

	if (exceeds(bytes, numbers->staged, max, &sizes)) {
		reason_mark(REFUSAL_STAGE_MAX);
		snprintf(text, size,
			 "a shadow of %s in DRAM, beside %s that this program "
			 "has in shadows, is more than the %s that %s: raise "
			 "it (DAXMR_STAGE_MAX, daxmr run --stage-max), or "
			 "register less",
			 sizes.want, sizes.have, sizes.limit,
			 is_auto ? "it may have, half of the memory that is "
				   "available"
				 : "DAXMR_STAGE_MAX lets it have");
		return -ENOMEM;
	}
	if (exceeds(bytes, 0, numbers->available, &sizes)) {
		reason_mark(REASON_MEMORY);
		snprintf(text, size,
			 "a shadow of %s does not fit in memory: %s are "
			 "available (MemAvailable in /proc/meminfo); end what "
			 "uses memory, or register less",
			 sizes.want, sizes.limit);
		return -ENOMEM;
	}
	return 0;
}

static int judge_pinning(const struct stage_numbers *numbers, uint64_t bytes,
			 char *text, size_t size)
{
	struct sizes sizes;

	if (!exceeds(bytes, numbers->pinned, numbers->memlock, &sizes))
		return 0;
	reason_mark(REFUSAL_MEMLOCK);
	snprintf(text, size,
		 "a device would pin a shadow of %s, beside %s that it has "
		 "pinned for this process (VmPin), and RLIMIT_MEMLOCK is %s: "
		 "raise it (ulimit -l, LimitMEMLOCK=, "
		 "/etc/security/limits.conf), or give the program "
		 "CAP_IPC_LOCK, or register less",
		 sizes.want, sizes.have, sizes.limit);
	return -ENOMEM;
}

int stage_limits_judge_again(const struct stage_numbers *numbers,
			     uint64_t bytes, char *text, size_t size)
{
	struct sizes sizes;
	char raised[SIZE_TEXT];

	if (!exceeds(bytes, numbers->pinned, numbers->memlock, &sizes))
		return 0;
	reason_mark(REFUSAL_MEMLOCK);
	snprintf(text, size,
		 "with on_shrink=error a device pins a region twice while "
		 "others have cut its file off: %s more, beside %s that it has "
		 "pinned for this process (VmPin), and RLIMIT_MEMLOCK is %s: "
		 "raise it to %s (ulimit -l, LimitMEMLOCK=, "
		 "/etc/security/limits.conf), or give the program "
		 "CAP_IPC_LOCK, or register less",
		 sizes.want, sizes.have, sizes.limit,
		 size_text(numbers->pinned + bytes, raised));
	return -ENOMEM;
}

static int judge_cgroup(const struct stage_numbers *numbers, uint64_t bytes,
			char *text, size_t size)
{
	struct sizes sizes;

	if (!exceeds(bytes, numbers->cgroup_used, numbers->cgroup_limit,
		     &sizes))
		return 0;
	reason_mark(REFUSAL_CGROUP);
	snprintf(text, size,
		 "a shadow of %s does not fit in the control group, in which "
		 "%s are used of %s: raise %s (MemoryMax= or MemoryHigh= of "
		 "the unit, the container's memory limit), or register less",
		 sizes.want, sizes.have, sizes.limit, numbers->cgroup_file);
	return -ENOMEM;
}

/* Whoever opens all the files at once waits for all of it. */
static int judge_time(const struct stage_numbers *numbers, uint64_t bytes,
		      char *text, size_t size)
{
	char rate[SIZE_TEXT];
	struct sizes sizes;
	uint64_t most;

	if (!numbers->break_s)
		return 0;
	most = numbers->rate > UINT64_MAX / numbers->break_s
		       ? STAGE_NO_LIMIT
		       : numbers->rate * numbers->break_s;
	if (!exceeds(bytes, numbers->staged, most, &sizes))
		return 0;
	reason_mark(REFUSAL_BREAK_TIME);
	snprintf(text, size,
		 "a shadow of %s, beside %s that this program has in shadows, "
		 "is more than can be compared with and written to the file in "
		 "the %" PRIu64 " s that an opener waits for it: about %s, at "
		 "%s a second; write more to /proc/sys/fs/lease-break-time, or "
		 "register less",
		 sizes.want, sizes.have, numbers->break_s, sizes.limit,
		 size_text(numbers->rate, rate));
	return -ENOMEM;
}

int stage_limits_judge(const struct stage_numbers *numbers, uint64_t bytes,
		       char *text, size_t size)
{
	int r = judge_memory(numbers, bytes, text, size);

	if (!r)
		r = judge_pinning(numbers, bytes, text, size);
	if (!r)
		r = judge_cgroup(numbers, bytes, text, size);
	if (!r)
		r = judge_time(numbers, bytes, text, size);
	return r;
}

/* On the processor: what else the machine does now, it may not do later. */
static int64_t spent_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static uint64_t measure(void)
{
	int64_t begin_ns, spent_ns;
	char *sample = raw_map_memory(2 * SAMPLE, MAP_POPULATE);
	volatile int differs;

	if (sample == MAP_FAILED)
		return SLOW_RATE;
	begin_ns = spent_now_ns();
	differs = memcmp(sample, sample + SAMPLE, SAMPLE);
	memcpy(sample, sample + SAMPLE, SAMPLE);
	__asm__ volatile("" : : "r"(sample), "r"(differs) : "memory");
	spent_ns = spent_now_ns() - begin_ns;
	raw_unmap(sample, 2 * SAMPLE);
	return spent_ns > 0
		       ? (uint64_t)(SAMPLE * 1e9 / (double)spent_ns) / CAUTION
		       : SLOW_RATE;
}

uint64_t stage_limits_rate(void)
{
	/* 0: not measured; two threads that do so get about the same. */
	static _Atomic uint64_t known;
	uint64_t rate = atomic_load(&known);

	if (!rate) {
		rate = measure();
		atomic_store(&known, rate ? rate : 1);
	}
	return rate ? rate : 1;
}

static void read_numbers(struct stage_numbers *ret)
{
	struct rlimit memlock = {RLIM_INFINITY, RLIM_INFINITY};

	getrlimit(RLIMIT_MEMLOCK, &memlock);
	stage_limits_read("/proc", "/sys/fs/cgroup",
			  memlock.rlim_cur == RLIM_INFINITY ? STAGE_NO_LIMIT
							    : memlock.rlim_cur,
			  ret);
}

int stage_limits_check(uint64_t bytes, uint64_t max)
{
	struct stage_numbers numbers = {
		.max = max,
		.staged = atomic_load(&shadows_bytes),
		.rate = stage_limits_rate(),
	};
	char text[STAGE_CGROUP_MAX + 512];
	int saved_errno = errno, r;

	read_numbers(&numbers);
	r = stage_limits_judge(&numbers, bytes, text, sizeof(text));
	if (r)
		reason_set_kind(reason_kind(), r, "%s", text);
	errno = saved_errno;
	return r;
}

int stage_limits_check_again(uint64_t bytes)
{
	struct stage_numbers numbers = {0};
	int saved_errno = errno, r;
	char text[512];

	read_numbers(&numbers);
	r = stage_limits_judge_again(&numbers, bytes, text, sizeof(text));
	if (r)
		reason_set_kind(reason_kind(), r, "%s", text);
	errno = saved_errno;
	return r;
}
