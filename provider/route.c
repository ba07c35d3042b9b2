/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "refusal.h"
#include "route.h"

static const char *const strategy_names[STRATEGIES] = {
	[STRATEGY_AUTO] = "auto",     [STRATEGY_PASSTHROUGH] = "passthrough",
	[STRATEGY_ODP] = "odp",	      [STRATEGY_STAGED] = "staged",
	[STRATEGY_PINNED] = "pinned", [STRATEGY_REFUSED] = "refused",
};

const char *strategy_name(enum strategy strategy)
{
	return strategy_names[strategy];
}

static void decide(struct route *route, enum strategy strategy, int error,
		   const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void decide(struct route *route, enum strategy strategy, int error,
		   const char *format, ...)
{
	va_list args;

	route->needs = ROUTE_NEEDS_NOTHING;
	route->strategy = strategy;
	route->error = error;
	va_start(args, format);
	vsnprintf(route->why, sizeof(route->why), format, args);
	va_end(args);
}

/* "fs-dax file /mnt/pmem/f (xfs)" */
static const char *describe(const struct memory *memory, char *text,
			    size_t size)
{
	const struct memory_file *file = &memory->file;

	if (memory->unseen)
		snprintf(
			text, size,
			"what is mapped at %#lx, which could not be seen (%s),",
			(unsigned long)memory->start, strerror(memory->unseen));
	else
		snprintf(text, size, "%s %s%s%s%s",
			 memory_kind_name(file->kind), file->name,
			 file->fs[0] ? " (" : "", file->fs,
			 file->fs[0] ? ")" : "");
	return text;
}

/*
 * Whether a plain registration is known to fail, or the memory is in a file's
 * place and has to be looked after like that, so that another way is due. A
 * file that could not be looked at may be fs-dax: the program's own ON_DEMAND
 * on it is not tried before the device is known to be sound.
 */
static bool plain_fails(const struct route_question *question)
{
	unsigned int kinds = question->memory->kinds;

	if (kinds & (MEMORY_FSDAX_BITS | MEMORY_BIT(MEMORY_SHADOW)))
		return true;
	if (kinds & MEMORY_PAGECACHE_BITS)
		return question->kernel == EFAULT;
	if (kinds & MEMORY_BIT(MEMORY_UNKNOWN))
		/* EFAULT may as well be a mistake where nothing was seen */
		return question->kernel == EOPNOTSUPP ||
		       (question->kernel == EFAULT &&
			!question->memory->unseen) ||
		       (question->access & IBV_ACCESS_ON_DEMAND);
	return false;
}

/*
 * What a plain registration, which touches every page, would have found wrong
 * with the range. ODP looks at pages only when they are used: without this a
 * mistake would come to light as a dead QP.
 */
static bool refused_as_plain(const struct route_question *question,
			     const char *what, struct route *ret)
{
	const struct memory *memory = question->memory;

	if (memory->kinds & MEMORY_BIT(MEMORY_UNMAPPED)) {
		ret->refusal = REFUSAL_UNMAPPED;
		decide(ret, STRATEGY_REFUSED, EFAULT,
		       "part of the range %#lx-%#lx is not mapped (the rest is "
		       "%s): register only what is mapped",
		       (unsigned long)memory->start, (unsigned long)memory->end,
		       what);
		return true;
	}
	if (memory->kinds & MEMORY_BIT(MEMORY_DEVICE)) {
		ret->refusal = REFUSAL_SEVERAL;
		decide(ret, STRATEGY_REFUSED, EFAULT,
		       "the range %#lx-%#lx is %s and device memory in one: "
		       "no single MR can hold both, register them apart",
		       (unsigned long)memory->start, (unsigned long)memory->end,
		       what);
		return true;
	}
	if (memory->unreadable) {
		ret->refusal = REFUSAL_PROTECTION;
		decide(ret, STRATEGY_REFUSED, EFAULT,
		       "part of the range %#lx-%#lx (%s) is mapped without "
		       "PROT_READ: no device can use it",
		       (unsigned long)memory->start, (unsigned long)memory->end,
		       what);
		return true;
	}
	if (memory->read_only &&
	    (question->access &
	     (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
	      IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND))) {
		ret->refusal = REFUSAL_PROTECTION;
		decide(ret, STRATEGY_REFUSED, EFAULT,
		       "the range %#lx-%#lx (%s), or part of it, is mapped "
		       "without PROT_WRITE and the MR asks for write access: "
		       "map it writable, or leave IBV_ACCESS_LOCAL_WRITE and "
		       "the like out",
		       (unsigned long)memory->start, (unsigned long)memory->end,
		       what);
		return true;
	}
	return false;
}

/* The errno of the kernel for what it will not pin. */
static int plain_errno(const struct route_question *question)
{
	return question->kernel > 0 ? question->kernel : EOPNOTSUPP;
}

static const char *why_not_plain(const struct route_question *question,
				 char *text, size_t size)
{
	if (question->memory->kinds & MEMORY_FSDAX_BITS)
		return "the kernel does not let a device pin its pages";
	snprintf(text, size, "the kernel refused to pin its pages (%s)",
		 strerror(plain_errno(question)));
	return text;
}

/* Whether the name can be typed as it is, and leads to the file. */
static bool is_typeable(const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._+-";

	return name[0] == '/' && !strstr(name, "...") &&
	       !name[strspn(name, plain)];
}

static bool is_moved(const struct route_question *question)
{
	return question->moved_iova ||
	       (question->access & IBV_ACCESS_ZERO_BASED);
}

/* What a sentence ends with where the file can be looked at. */
static const char *advice(const struct route_question *question)
{
	return is_typeable(question->memory->file.name)
		       ? " (daxmr check on the file says more)"
		       : "";
}

/* It may refuse as well, and knows best with which errno. */
static bool may_ask_kernel(const struct route_question *question)
{
	return question->kernel == ROUTE_KERNEL_NOT_ASKED &&
	       (!(question->access & IBV_ACCESS_ON_DEMAND) ||
		(question->caps && !question->caps->has_odp));
}

#define BECAUSE_MAX 400

/* False: it is no way, and why. Else it is decided, or something is needed. */
static bool choose_odp(const struct route_question *question, const char *what,
		       char because[BECAUSE_MAX], struct route *ret)
{
	const struct odp_caps *caps = question->caps;
	const char *device = question->device;
	char names[80];
	uint32_t missing;

	if (!caps) {
		ret->needs = ROUTE_NEEDS_CAPS;
		return true;
	}
	missing = odp_caps_missing(caps, question->access);
	if (!caps->has_odp) {
		ret->refusal = REFUSAL_NO_ODP;
		snprintf(because, BECAUSE_MAX, "%s has no on-demand paging",
			 device);
	} else if (missing) {
		ret->refusal = REFUSAL_ODP_ACCESS;
		snprintf(because, BECAUSE_MAX,
			 "the on-demand paging of %s cannot do what the access "
			 "flags ask for (RC: %s)",
			 device, odp_caps_names(missing, names, sizeof(names)));
	} else if (question->trust == ROUTE_TRUST_UNKNOWN) {
		ret->needs = ROUTE_NEEDS_TRUST;
		return true;
	} else if (question->trust == ROUTE_TRUST_NO) {
		ret->refusal = REFUSAL_ODP_UNTRUSTED;
		snprintf(because, BECAUSE_MAX,
			 "the on-demand paging of %s corrupts data (%s)",
			 device, question->trust_seen);
	} else if (question->trust == ROUTE_TRUST_UNPROVEN &&
		   question->wish != STRATEGY_ODP) {
		ret->refusal = REFUSAL_ODP_UNTESTED;
		snprintf(because, BECAUSE_MAX,
			 "the on-demand paging of %s could not be tested (%s)",
			 device, question->trust_seen);
	} else if (is_moved(question) && !question->trust_moved_iova) {
		ret->refusal = REFUSAL_ODP_IOVA;
		snprintf(because, BECAUSE_MAX,
			 "the on-demand paging of %s does not work where the "
			 "iova is not the address (ibv_reg_mr_iova, "
			 "IBV_ACCESS_ZERO_BASED)",
			 device);
	} else {
		decide(ret, STRATEGY_ODP, 0,
		       "%s: on-demand paging, %s (%s); when the file is "
		       "truncated or punched the kernel takes the pages back",
		       what,
		       question->trust == ROUTE_TRUST_YES
			       ? "tested"
			       : "untested, as the user wishes",
		       question->trust_seen);
		return true;
	}
	return false;
}

/* The wish was odp, and there is none: nothing else is tried. */
static void refuse_without_odp(const struct route_question *question,
			       const char *what, const char *because,
			       struct route *ret)
{
	char plain[120];

	decide(ret, STRATEGY_REFUSED, plain_errno(question),
	       "%s cannot be registered: %s, %s, and the strategy odp was "
	       "asked "
	       "for; leave that to daxmr (strategy auto), register ordinary "
	       "memory and copy, or use a device with working on-demand "
	       "paging%s",
	       what, why_not_plain(question, plain, sizeof(plain)), because,
	       advice(question));
	ret->ask_kernel = may_ask_kernel(question);
}

/* What cannot be staged: why, and what to do; NULL: it can. */
static const char *why_not_staged(const struct route_question *question,
				  unsigned int *ret_refusal)
{
	*ret_refusal = REASON_UNSEEN;
	if (question->memory->unseen)
		return "what cannot be seen cannot be staged; see to it that "
		       "/proc can be read and descriptors are left";
	*ret_refusal = REFUSAL_FLUSH_PERSISTENT;
	if (question->access & ROUTE_ACCESS_FLUSH_PERSISTENT)
		return "IBV_ACCESS_FLUSH_PERSISTENT promises a peer what a "
		       "shadow in memory does not keep; leave it out "
		       "(IBV_ACCESS_FLUSH_GLOBAL is accepted)";
	return NULL;
}

static void choose_staged(const struct route_question *question,
			  const char *what, const char *because,
			  struct route *ret)
{
	unsigned int refusal;
	const char *why_not = why_not_staged(question, &refusal);
	bool is_private =
		question->memory->file.kind == MEMORY_FSDAX_PRIVATE ||
		question->memory->file.kind == MEMORY_PAGECACHE_PRIVATE;

	if (refused_as_plain(question, what, ret))
		return;
	if (!why_not) {
		decide(ret, STRATEGY_STAGED, 0, "%s: a %s, since %s", what,
		       is_private ? "private copy in memory takes its place"
				  : "shadow in memory takes the file's place "
				    "under a lease",
		       because);
		return;
	}
	ret->refusal = refusal;
	decide(ret, STRATEGY_REFUSED, plain_errno(question),
	       "%s cannot be registered: %s, and %s%s", what, because, why_not,
	       advice(question));
	ret->ask_kernel = may_ask_kernel(question);
}

/*
 * tmpfs and hugetlbfs are where programs share memory that no file is meant by,
 * and nobody waits for its pins: only for who asks for that very region.
 * Segments of shmget(2) and MAP_HUGETLB have no file that could be opened.
 */
static unsigned int pinnable(const struct route_question *question)
{
	return MEMORY_BIT(MEMORY_FSDAX) | MEMORY_BIT(MEMORY_PAGECACHE) |
	       (question->is_asked && question->memory->file.fs[0]
			? MEMORY_BIT(MEMORY_TMPFS) | MEMORY_BIT(MEMORY_HUGETLB)
			: 0);
}

/* Why such a region cannot be pinned, and what to do; NULL: it can. */
static const char *why_not_pinned(const struct route_question *question)
{
	if (question->memory->kinds & ~pinnable(question))
		return "the range is of several kinds of memory; register each "
		       "apart";
	return NULL;
}

/* The wish was pinned: nothing else is tried. */
static void choose_pinned(const struct route_question *question,
			  const char *what, struct route *ret)
{
	const char *why_not = why_not_pinned(question);

	if (refused_as_plain(question, what, ret))
		return;
	ret->refusal = why_not ? REFUSAL_SEVERAL : REFUSAL_KERNEL;
	if (why_not)
		decide(ret, STRATEGY_REFUSED, EOPNOTSUPP,
		       "%s cannot be registered as the user wishes, pinned: %s",
		       what, why_not);
	else if (question->kernel > 0)
		decide(ret, STRATEGY_REFUSED, question->kernel,
		       "%s cannot be registered: the kernel refused to pin its "
		       "pages (%s), and the strategy pinned was asked for; "
		       "leave that to daxmr (strategy auto)%s",
		       what, strerror(question->kernel), advice(question));
	else
		decide(ret, STRATEGY_PINNED, 0,
		       "%s: its own pages, under a lease, as the user wishes; "
		       "while others have the file there is no MR, and but for "
		       "keys=window its rkey is another one afterwards",
		       what);
}

void route_choose(const struct route_question *question, struct route *ret)
{
	const struct memory *memory = question->memory;
	char what[320], kinds[320], because[BECAUSE_MAX];

	memset(ret, 0, sizeof(*ret));
	if (question->wish == STRATEGY_PASSTHROUGH) {
		decide(ret, STRATEGY_PASSTHROUGH, 0,
		       "as the user wishes, whatever the memory is");
		return;
	}
	if (question->wish == STRATEGY_PINNED &&
	    memory->kinds & pinnable(question) &&
	    !(memory->kinds & MEMORY_BIT(MEMORY_SHADOW))) {
		choose_pinned(question, describe(memory, what, sizeof(what)),
			      ret);
		return;
	}
	if (!plain_fails(question)) {
		decide(ret, STRATEGY_PASSTHROUGH, 0, "%s: %s",
		       memory_kinds_names(memory->kinds, kinds, sizeof(kinds)),
		       memory->kinds & (MEMORY_PAGECACHE_BITS |
					MEMORY_BIT(MEMORY_UNKNOWN))
			       ? "the kernel decides"
			       : "nothing to do for daxmr");
		return;
	}
	describe(memory, what, sizeof(what));
	/*
	 * Who asks for ON_DEMAND himself knows what that leaves unseen, and
	 * gets the kernel's behaviour.
	 */
	if (!(question->access & IBV_ACCESS_ON_DEMAND) &&
	    refused_as_plain(question, what, ret))
		return;
	if (memory->kinds & MEMORY_BIT(MEMORY_SHADOW))
		snprintf(because, sizeof(because), "a region before has one");
	else if (question->wish == STRATEGY_STAGED)
		snprintf(because, sizeof(because), "the user wishes it");
	else if (choose_odp(question, what, because, ret))
		return;
	if (question->wish == STRATEGY_ODP)
		refuse_without_odp(question, what, because, ret);
	else
		choose_staged(question, what, because, ret);
}
