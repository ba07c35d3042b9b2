/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of a pinned region when its file is back: what is left of it is
 * registered again.
 *
 * Where that fails it is tried again with growing pauses. The gate stays closed
 * meanwhile, quiesce_ms at most; then the QPs are severed, whose peers would
 * wait for what may never come, and it is still tried.
 */
#include <errno.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "pinned_parts.h"
#include "probe.h"
#include "reason.h"
#include "stats.h"

#define MS	  1000000LL
#define PAUSE_MIN (10 * MS)
#define PAUSE_MAX (1000 * MS)

/* Posts by the old key are to go with the new one, or wait until they can. */
static int show_new_key(struct pinned *pinned, struct ibv_mr *mr)
{
	int64_t until_ns = clock_now_ns() + pinned->quiesce_ns;
	int r = pinned_is_programs(pinned)
			? 0
			: pinned_gate_close_alone(pinned, until_ns);

	if (!r)
		r = pinned_promise(pinned, mr);
	if (r)
		return r;
	pinned->mr = mr;
	pinned_show(pinned);
	pinned_windows_bind(pinned);
	return 0;
}

#define BLOCK 4096

static uint64_t blocks_of(size_t bytes)
{
	return (bytes + BLOCK - 1) / BLOCK;
}

void pinned_tell_severed(struct pinned *pinned)
{
	unsigned int severed = pinned_gate_news(pinned);

	pinned_count(pinned, severed, 0);
	if (severed)
		pinned_tell(pinned, PINNED_SEVERED, 0, 0);
}

static void tell_back(struct pinned *pinned, size_t before)
{
	size_t now = pinned->registered;

	if (now < before)
		pinned_tell(pinned, PINNED_SHRUNK,
			    blocks_of(before) - blocks_of(now), 0);
	else if (now > before)
		pinned_tell(pinned, PINNED_GROWN,
			    blocks_of(now) - blocks_of(before), 0);
	if (!pinned->mr)
		return;
	if (!pinned->key.mw) {
		stats_device_count(pinned->context->device->name,
				   STATS_KEYS_CHANGED, 1);
		pinned_count(pinned, 0, 1);
	}
	pinned_tell(pinned, PINNED_BACK, 0, 0);
}

/* 0, and *ret of it can be registered; -errno. */
static int left_of(const struct pinned *pinned, size_t *ret)
{
	size_t in_file;
	int r = pinned_still_there(pinned, ret);

	if (r || !*ret)
		return r;
	in_file = pinned_surviving(pinned);
	if (*ret > in_file)
		*ret = in_file;
	return 0;
}

/* What it is on is what was looked at? */
static int check(const struct pinned *pinned, size_t length)
{
	size_t there = 0;
	int r = pinned_still_there(pinned, &there);

	return r ? r : there < length ? -EAGAIN : 0;
}

/* All QPs of its PD, where they are known; the gate is open afterwards. How
 * many. */
static unsigned int sever_all(struct pinned *pinned, int error)
{
	int64_t until_ns = clock_now_ns() + pinned->quiesce_ns;
	unsigned int severed = 0;

	if (!pinned_is_programs(pinned) &&
	    !pinned_gate_close_alone(pinned, until_ns)) {
		severed = pinned_gate_sever(pinned->gate, true);
		pinned_count(pinned, pinned_gate_news(pinned), 0);
	}
	pinned_gate_open(pinned);
	pinned_tell(pinned, PINNED_SEVERED, 0, error);
	return severed;
}

/*
 * The MR is not to be. Where it does not go it is the region's, with no post
 * that would name it, until others want the file.
 */
static void take_back(struct pinned *pinned, struct ibv_mr *mr, size_t length)
{
	char why[REASON_MAX];
	int r = pinned_key_unbind(pinned, mr);

	strcpy(why, reason_text());
	if (!pinned->key.mw)
		pinned_show(pinned);
	if (pinned->real->dereg_mr(mr)) {
		pinned->mr = mr;
		pinned->registered = length;
	}
	if (!r)
		return;
	log_try_write(LOG_ERROR,
		      "%s: its rkey, which was to stay, is lost: %s; %u QPs "
		      "are severed, it comes back with another",
		      pinned->file.name, why, sever_all(pinned, -ENOKEY));
}

static int register_again(struct pinned *pinned, size_t length)
{
	struct ibv_mr *mr;
	int r;

	errno = 0;
	mr = pinned_make_mr(pinned, length);
	if (!mr)
		return errno ? -errno : -EIO;
	r = check(pinned, length);
	if (!r)
		r = pinned_key_bind(pinned, mr, length);
	if (!r)
		r = show_new_key(pinned, mr);
	if (r)
		take_back(pinned, mr, length);
	return r;
}

/*
 * Whether it has failed for the first time. Where others have the file again
 * all begins anew.
 */
static bool try_again(struct pinned *pinned)
{
	int64_t now_ns = clock_now_ns();
	struct pinned_locked locked;
	bool is_first;

	pinned_lock_take(&locked);
	is_first = pinned->is_held && !pinned->pause_ns;
	if (!pinned->is_held) {
		pinned_lock_give(&locked);
		return false;
	}
	if (is_first) {
		pinned->is_stuck = true;
		pinned->deadline_ns = now_ns + pinned->quiesce_ns;
		pinned->pause_ns = PAUSE_MIN;
	} else if (pinned->pause_ns < PAUSE_MAX / 2) {
		pinned->pause_ns *= 2;
	} else {
		pinned->pause_ns = PAUSE_MAX;
	}
	pinned->retry_ns = now_ns + pinned->pause_ns;
	pinned->is_tried = false;
	pinned_lock_give(&locked);
	return is_first;
}

static void is_back(struct pinned *pinned)
{
	struct pinned_locked locked;

	pinned_lock_take(&locked);
	pinned->is_stuck = false;
	pinned->retry_ns = pinned->pause_ns = 0;
	pinned_lock_give(&locked);
}

void pinned_come_back(struct pinned *pinned)
{
	int64_t begun_ns = clock_now_ns();
	size_t length = 0, before = pinned->registered;
	int r = left_of(pinned, &length);

	if (!r && length)
		r = register_again(pinned, length);
	pinned->error = r;
	if (r) {
		if (try_again(pinned))
			log_try_write(
				LOG_ERROR,
				"%s: it is back, and its %zu bytes cannot be "
				"registered again: %s; it is tried again",
				pinned->file.name, length, strerrordesc_np(-r));
		return;
	}
	is_back(pinned);
	pinned->registered = length;
	pinned_tell_severed(pinned);
	pinned_gate_open(pinned);
	PROBE(resumed, pinned->file.dev, pinned->file.ino,
	      clock_now_ns() - begun_ns, pinned->seen->mr.rkey);
	tell_back(pinned, before);
	log_try_write(
		length < pinned->length ? LOG_WARN : LOG_INFO,
		"%s: it is back: %zu of %zu bytes registered again in %lld "
		"us, rkey %#x",
		pinned->file.name, length, pinned->length,
		(long long)(clock_now_ns() - begun_ns) / 1000,
		pinned->seen->mr.rkey);
}

void pinned_sever_stuck(struct pinned *pinned)
{
	unsigned int severed = sever_all(pinned, pinned->error);

	log_try_write(
		LOG_ERROR,
		"%s: it could not be registered again for %u ms, %u QPs are "
		"severed; it is still tried",
		pinned->file.name, (unsigned int)(pinned->quiesce_ns / MS),
		severed);
}
