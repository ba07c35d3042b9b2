/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Trial registrations of one file on one device, and the verdict.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "config.h"
#include "odp_mr.h"

/* More than the trust test and the queues of its device lock. */
#define TRUST_MEMLOCK (1u << 20)

static void note(struct check_answer *answer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void note(struct check_answer *answer, const char *format, ...)
{
	va_list args;

	if (answer->notes == CHECK_NOTES)
		return;
	va_start(args, format);
	vsnprintf(answer->note[answer->notes++], sizeof(answer->note[0]),
		  format, args);
	va_end(args);
}

/* What storage programs ask for. */
static unsigned int access_flags(bool writable)
{
	return IBV_ACCESS_REMOTE_READ |
	       (writable ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE
			 : 0);
}

/* 0 or the kernel's errno. */
static int done(const struct real_verbs *real, struct ibv_mr *mr)
{
	if (!mr)
		return errno;
	real->table.dereg_mr(mr);
	return 0;
}

static int try_plain(const struct check_sample *sample,
		     const struct check_device *device,
		     const struct real_verbs *real)
{
	if (sample->touch == CHECK_TOUCH_NONE)
		return ROUTE_KERNEL_NOT_ASKED;
	errno = 0;
	return done(real, real->reg_mr(device->pd, sample->addr, sample->length,
				       (int)access_flags(sample->writable)));
}

/* Pages on demand are not touched by it: the file itself. */
static int try_odp(const struct check_file *file,
		   const struct check_device *device,
		   const struct real_verbs *real)
{
	errno = 0;
	return done(real, odp_mr_register(&real->table, device->pd, file->addr,
					  file->length, (uintptr_t)file->addr,
					  access_flags(file->writable)));
}

static void verdict_odp(struct check_answer *answer, const char *why)
{
	answer->works = answer->odp == 0;
	answer->error = answer->odp;
	if (answer->works)
		snprintf(answer->why, sizeof(answer->why), "%s", why);
	else
		snprintf(answer->why, sizeof(answer->why),
			 "%s; and yet the kernel refused the registration with "
			 "on-demand paging: %s",
			 why, strerror(answer->odp));
}

static void verdict_plain(struct check_answer *answer,
			  const struct check_file *file, const char *why)
{
	const struct check_sample *sample = &file->sample;
	bool is_enough = sample->writable || !file->writable;

	answer->works = answer->kernel == 0 && is_enough;
	answer->error = answer->kernel > 0 ? answer->kernel : 0;
	if (answer->works)
		snprintf(answer->why, sizeof(answer->why),
			 "%s; the kernel registered it", why);
	else if (answer->kernel == 0)
		snprintf(answer->why, sizeof(answer->why),
			 "%s; the kernel registered it read-only, and for "
			 "writing it could not be tried without changing it "
			 "(%s)",
			 why, sample->why);
	else if (answer->error)
		snprintf(answer->why, sizeof(answer->why),
			 "%s; the kernel refused: %s%s", why,
			 strerror(answer->error),
			 answer->error == ENOMEM
				 ? "; raise the limit on locked memory "
				   "(ulimit -l, LimitMEMLOCK=)"
				 : "");
	else
		snprintf(answer->why, sizeof(answer->why),
			 "%s; it could not be tried without changing it (%s)",
			 why, sample->why);
}

static bool lacks_windows(const struct check_device *device)
{
	return config_get()->on_shrink == ON_SHRINK_ERROR &&
	       !device->window.is_right;
}

/* The rest of the sentence why something does not work. */
static void add_but(struct check_answer *answer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void add_but(struct check_answer *answer, const char *format, ...)
{
	size_t used = strlen(answer->why);
	va_list args;

	used += (size_t)snprintf(answer->why + used, sizeof(answer->why) - used,
				 "; but: ");
	if (used >= sizeof(answer->why))
		return;
	va_start(args, format);
	vsnprintf(answer->why + used, sizeof(answer->why) - used, format, args);
	va_end(args);
}

#define WINDOW_MAX (2ULL << 30)

/* What becomes of the rkey that peers have. */
static void note_keys(struct check_answer *answer,
		      const struct check_file *file,
		      const struct check_device *device)
{
	bool is_window = config_get()->keys == KEYS_WINDOW;

	if (is_window)
		note(answer, "what peers do by themselves while it is away "
			     "fails, and they go on by the same rkey "
			     "afterwards");
	else if (device->window.is_right)
		note(answer,
		     "what peers do by themselves while it is away fails, and "
		     "they need the new rkey afterwards; with keys=window "
		     "(DAXMR_KEYS) it stays");
	else
		note(answer,
		     "what peers do by themselves while it is away fails, and "
		     "they need the new rkey afterwards; it cannot stay on %s "
		     "(keys=window): %s",
		     device->name, device->window.seen);
	if (is_window && !device->window.has_atomics)
		note(answer, "not for peers' atomics: with keys=window they "
			     "come through a memory window, and through those "
			     "of this device none do");
	if (is_window && file->size > WINDOW_MAX)
		note(answer, "in pieces: a memory window (keys=window) is not "
			     "longer than 2 GiB on most devices");
}

static void verdict_staged(struct check_answer *answer,
			   const struct check_device *device,
			   const struct check_keeper *keeper, const char *why)
{
	const struct check_staged *staged = &answer->staged;

	answer->is_staged = true;
	answer->error = staged->error;
	if (!answer->error && lacks_windows(device))
		answer->error = EOPNOTSUPP;
	answer->works = !answer->error;
	if (answer->works)
		snprintf(answer->why, sizeof(answer->why), "%s", why);
	else if (!staged->error)
		snprintf(answer->why, sizeof(answer->why),
			 "%s; but: on_shrink=error wants a memory window, and "
			 "those of %s do not do: %s",
			 why, device->name, device->window.seen);
	else
		snprintf(answer->why, sizeof(answer->why), "%s; but: %s", why,
			 staged->lease[0] ? staged->lease : keeper->problem);
	if (!answer->works)
		return;
	if (config_get()->on_shrink == ON_SHRINK_ERROR &&
	    !device->window.has_atomics)
		note(answer, "not for peers' atomics: with on_shrink=error "
			     "they come through a memory window, and through "
			     "those of this device none do");
	note(answer, "nobody else may have it open when it is registered; "
		     "whoever opens it later gets it, with what was written "
		     "until then");
	note(answer, "what a peer writes is in memory first, and in the file "
		     "when others open it, the program deregisters it or "
		     "ends");
	if (staged->threads[0])
		note(answer, "only in programs with one thread: %s",
		     staged->threads);
	if (staged->limit[0])
		note(answer, "not all of it at once: %s", staged->limit);
}

static void verdict_pinned(struct check_answer *answer,
			   const struct check_file *file,
			   const struct check_device *device,
			   const struct check_keeper *keeper, const char *why)
{
	struct check_staged lease;

	verdict_plain(answer, file, why);
	if (answer->error)
		return;
	check_staged_find(file, keeper, &lease);
	if (lease.error) {
		answer->works = false;
		answer->error = lease.error;
		add_but(answer, "%s",
			lease.lease[0] ? lease.lease : keeper->problem);
		return;
	}
	if (config_get()->keys == KEYS_WINDOW && !device->window.is_right) {
		answer->works = false;
		answer->error = EOPNOTSUPP;
		add_but(answer,
			"keys=window wants a memory window, and those of %s do "
			"not do: %s",
			device->name, device->window.seen);
		return;
	}
	note(answer, "nobody else may have it open when it is registered; "
		     "whoever opens it later gets it, and the work on it waits "
		     "meanwhile");
	note_keys(answer, file, device);
	note(answer, "while the program is stopped (SIGSTOP, a debugger) its "
		     "pins stay: a truncate of an fs-dax file waits for them");
}

static void add_notes(struct check_answer *answer,
		      const struct check_file *file,
		      const struct check_device *device,
		      const struct check_limits *limits)
{
	bool has_no_odp = answer->verdict == STRATEGY_REFUSED ||
			  answer->verdict == STRATEGY_STAGED;

	if (!file->writable)
		note(answer, "%s: mapped and registered read-only",
		     file->read_only_why);
	if (!file->size && file->memory.kinds != MEMORY_BIT(MEMORY_DEVDAX))
		note(answer,
		     "the file is empty: access fails until it has a size "
		     "(truncate -s, fallocate)");
	if (has_no_odp && device->caps.has_odp &&
	    device->trust.verdict == ODP_NO_VERDICT && !device->has_active_port)
		note(answer,
		     "no port of %s is active: bring one up and check again, "
		     "and its on-demand paging can be tested",
		     device->name);
	else if (has_no_odp && device->caps.has_odp &&
		 device->trust.verdict == ODP_NO_VERDICT &&
		 !limits->cap_ipc_lock && limits->memlock_soft < TRUST_MEMLOCK)
		note(answer,
		     "the test of on-demand paging locks some pages, and the "
		     "limit on locked memory is %llu bytes: raise it (ulimit "
		     "-l, LimitMEMLOCK=) and check again",
		     (unsigned long long)limits->memlock_soft);
	if (answer->verdict != STRATEGY_PASSTHROUGH)
		return;
	if (!limits->cap_ipc_lock && limits->memlock_soft < file->size)
		note(answer,
		     "the limit on locked memory (%llu bytes) is smaller than "
		     "the file (%llu): raise it (ulimit -l, LimitMEMLOCK=) to "
		     "register all of it",
		     (unsigned long long)limits->memlock_soft,
		     (unsigned long long)file->size);
	if (answer->works && (file->memory.kinds & MEMORY_PAGECACHE_BITS))
		note(answer,
		     "not persistent when a peer's write is acknowledged, and "
		     "after a truncate the device writes to pages that are no "
		     "longer the file's");
}

/*
 * Kernels before 6.2 register no read-only shared mapping at all. Where only
 * the trial was read-only, not the file, that answer says nothing.
 */
static void judge_read_only(struct check_answer *answer,
			    const struct check_file *file,
			    const struct check_device *device,
			    const struct real_verbs *real)
{
	if (file->sample.writable || answer->kernel != EFAULT ||
	    check_sample_read_only_works(real, device->pd))
		return;
	note(answer,
	     "this kernel registers no read-only mapping of any shared file");
	if (file->writable)
		answer->kernel = ROUTE_KERNEL_NOT_ASKED;
}

void check_answer_find(const struct check_file *file,
		       const struct check_device *device,
		       const struct check_limits *limits,
		       const struct check_keeper *keeper,
		       const struct real_verbs *real, enum strategy wish,
		       struct check_answer *ret)
{
	struct choice choice;

	memset(ret, 0, sizeof(*ret));
	ret->kernel = try_plain(&file->sample, device, real);
	ret->odp = ROUTE_KERNEL_NOT_ASKED;
	judge_read_only(ret, file, device, real);
	choice_open(&choice, file->addr, file->length,
		    access_flags(file->writable), wish);
	choice.question.kernel = ret->kernel;
	choice_make(&choice, real, device->context);
	ret->verdict = choice.route.strategy;
	switch (ret->verdict) {
	case STRATEGY_ODP:
		ret->odp = try_odp(file, device, real);
		verdict_odp(ret, choice.route.why);
		break;
	case STRATEGY_STAGED:
		check_staged_find(file, keeper, &ret->staged);
		verdict_staged(ret, device, keeper, choice.route.why);
		break;
	case STRATEGY_PINNED:
		verdict_pinned(ret, file, device, keeper, choice.route.why);
		break;
	case STRATEGY_PASSTHROUGH:
		verdict_plain(ret, file, choice.route.why);
		break;
	default:
		ret->error = choice.route.error;
		snprintf(ret->why, sizeof(ret->why), "%s", choice.route.why);
	}
	if (ret->error)
		ret->verdict = STRATEGY_REFUSED;
	add_notes(ret, file, device, limits);
}
