/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "say.h"
#include "window.h"

/* The keeper of a server that was killed may still be at the file. */
#define PATIENCE_S 30

#define RETRY_MS     200
#define RETRY_MAX_MS 30000

/*
 * Whoever wants the file asks first: RECALL. A short answer is all we need, but
 * a commit may be under way. What is written beyond the end of a file that was
 * cut off has not been committed, and never will be.
 */
static int region_register(struct window *window, const char *what, void *addr,
			   size_t length, int access, struct daxmr_region **ret)
{
	char name[DAXMR_NAME_MAX + 1];
	const struct daxmr_options options = {
		.size = sizeof(options),
		.name = name,
		.channel = window->channel,
		.data = window,
		.on_recall = DAXMR_ON_RECALL_ASK,
		.on_shrink = DAXMR_ON_SHRINK_DISCARD,
		.quiesce_ms = 10000,
	};

	snprintf(name, sizeof(name), "%s of window %u", what, window->number);
	return daxmr_reg_mr(window->pd, addr, length, access, &options, ret);
}

static int register_index(struct window *window)
{
	return region_register(window, "index",
			       store_index(window->store, window->number),
			       window->store->index_size,
			       IBV_ACCESS_REMOTE_READ, &window->index);
}

static int register_data(struct window *window, uint32_t blocks,
			 struct daxmr_region **ret)
{
	return region_register(window, "data",
			       store_data(window->store, window->number),
			       slot_offset(blocks, 0),
			       IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
				       IBV_ACCESS_REMOTE_WRITE,
			       ret);
}

static int deregister(const struct window *window, struct daxmr_region **region)
{
	int r = *region ? daxmr_dereg_mr(*region) : 0;

	if (r)
		return say(r, "window %u: %s", window->number,
			   daxmr_errormsg());
	*region = NULL;
	return 0;
}

static int try_to_open(struct window *window)
{
	uint32_t blocks = store_blocks(window->store, window->number);
	int r = window->index ? 0 : register_index(window);

	if (!r && blocks)
		r = register_data(window, blocks, &window->data);
	if (r)
		return r;
	window->blocks = blocks;
	window->kept = blocks;
	return 0;
}

int window_open(struct window *window, struct store *store, uint32_t number,
		struct ibv_context *context, struct daxmr_channel *channel)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	time_t end = time(NULL) + PATIENCE_S;
	int r;

	*window = (struct window){
		.store = store,
		.number = number,
		.channel = channel,
		.pd = ibv_alloc_pd(context),
	};
	if (!window->pd)
		return say(-errno, "window %u: no protection domain", number);
	r = try_to_open(window);
	while (r == -EBUSY && time(NULL) < end) {
		nanosleep(&pause, NULL);
		r = try_to_open(window);
	}
	return r ? say(r, "window %u: %s", number, daxmr_errormsg()) : 0;
}

void window_close(struct window *window)
{
	if (deregister(window, &window->old) |
	    deregister(window, &window->data) |
	    deregister(window, &window->index))
		return;
	if (window->pd)
		ibv_dealloc_pd(window->pd);
}

/*
 * A commit that waits, or is on its way, may be of bytes that were cut off: the
 * file's size does not show that when it has grown back. is_doubtful has them
 * looked at.
 */
void window_look(struct window *window)
{
	const struct store *store = window->store;
	index_word *index = store_index(store, window->number);
	uint32_t blocks = store_blocks(store, window->number), forgotten = 0;

	if (window->kept > blocks)
		window->kept = blocks;
	for (uint32_t i = 0; i < window->kept; i++) {
		uint64_t word = atomic_load(&index[i]);

		if (word && store_was_cut_off(store, window->number, i, word))
			window->kept = i;
	}
	/* also zeroes that were committed as such: their bytes show no cut */
	for (uint32_t i = window->kept; i < store->blocks_max; i++)
		forgotten += atomic_exchange(&index[i], 0) != 0;
	window->is_doubtful = true;
	window->shape++;
	window->failures = 0;
	window->retry_at_ms = 0;
	if (!forgotten)
		return;
	say(0, "window %u: %u committed blocks have been cut off",
	    window->number, forgotten);
	/* What is not durable is found again at the next start. */
	if (daxmr_flush(window->index, 0, store->index_size, 0))
		say(0, "window %u: %s", window->number, daxmr_errormsg());
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Others having the file is no failure: it ends when they like. */
static int try_later(struct window *window, uint32_t blocks, int error)
{
	int64_t pause = RETRY_MS;

	if (error != -EBUSY) {
		if (!window->failures)
			say(error, "window %u cannot have %u blocks yet: %s",
			    window->number, blocks, daxmr_errormsg());
		for (uint32_t i = 0; i < window->failures; i++)
			if (pause < RETRY_MAX_MS)
				pause *= 2;
		if (pause > RETRY_MAX_MS)
			pause = RETRY_MAX_MS;
		window->failures++;
	}
	window->retry_at_ms = now_ms() + pause;
	return -EAGAIN;
}

int window_fit(struct window *window)
{
	uint32_t blocks = store_blocks(window->store, window->number);
	struct daxmr_region *data = NULL;
	int r = 0;

	if (blocks == window->blocks)
		return 0;
	if (window->old || now_ms() < window->retry_at_ms)
		return -EAGAIN;
	if (blocks)
		r = register_data(window, blocks, &data);
	if (r)
		return try_later(window, blocks, r);
	say(0, "window %u: %u blocks now, %u before", window->number, blocks,
	    window->blocks);
	window->old = window->data;
	window->data = data;
	window->blocks = blocks;
	window->shape++;
	return 0;
}

void window_retire(struct window *window)
{
	deregister(window, &window->old);
}

/* As far as the registration and the file reach, whichever is shorter. */
static uint32_t reach(const struct window *window)
{
	uint32_t blocks = store_blocks(window->store, window->number);

	return blocks < window->blocks ? blocks : window->blocks;
}

void window_settle(struct window *window)
{
	window_retire(window);
	window->kept = reach(window);
	window->is_doubtful = false;
}

void window_describe(const struct window *window, struct wire_window *ret)
{
	struct daxmr_info index = {.size = sizeof(index)},
			  data = {.size = sizeof(data)};

	daxmr_region_info(window->index, &index);
	if (window->data)
		daxmr_region_info(window->data, &data);
	*ret = (struct wire_window){
		.head = {.kind = WIRE_WINDOW, .id = window->shape},
		.blocks = reach(window),
		.blocks_max = window->store->blocks_max,
		.kept = window->kept,
		.index = (uintptr_t)index.addr,
		.data = (uintptr_t)data.addr,
		.index_rkey = index.rkey,
		.data_rkey = data.rkey,
	};
}

bool window_is_ours(const struct window *window)
{
	struct daxmr_info info = {.size = sizeof(info)};

	return !daxmr_region_info(window->index, &info) &&
	       (info.state == DAXMR_STATE_NONE ||
		info.state == DAXMR_STATE_HELD);
}

static int check_commit(const struct window *window,
			const struct wire_commit *commit)
{
	const index_word *index = store_index(window->store, window->number);

	if (!commit->count || commit->count > WIRE_RUN)
		return -EINVAL;
	if (commit->first >= window->kept ||
	    commit->count > window->kept - commit->first)
		return -ENOSPC;
	for (uint32_t i = 0; i < commit->count; i++)
		if (index_sequence(commit->words[i]) !=
		    index_sequence(atomic_load(&index[commit->first + i])) + 1)
			return -ESTALE;
	/* no sequence follows the last: 0 is that of a block never committed */
	for (uint32_t i = 0; i < commit->count; i++)
		if (!index_sequence(commit->words[i]))
			return say(-EOVERFLOW,
				   "window %u: block %u has been committed as "
				   "often as it can be",
				   window->number, commit->first + i);
	return 0;
}

static int flush(const struct window *window, struct daxmr_region *region,
		 uint64_t offset, uint64_t length)
{
	int r;

	if (!window->store->path)
		return 0;
	r = daxmr_flush(region, offset, length, 0);
	if (r && r != -EAGAIN)
		say(r, "window %u: %s", window->number, daxmr_errormsg());
	return r;
}

/* Are the bytes there still that the peer has written? */
static int check_bytes(const struct window *window,
		       const struct wire_commit *commit)
{
	for (uint32_t i = 0; window->is_doubtful && i < commit->count; i++)
		if (!store_is_whole(window->store, window->number,
				    commit->first + i, commit->words[i]))
			return -ENOSPC;
	return 0;
}

/* The bytes first, then the words that say where they are. */
int window_commit(struct window *window, const struct wire_commit *commit)
{
	index_word *words =
		store_index(window->store, window->number) + commit->first;
	uint64_t before[WIRE_RUN];
	int r = check_commit(window, commit);

	if (!r)
		r = flush(window, window->data, slot_offset(commit->first, 0),
			  slot_offset(commit->count, 0));
	if (!r)
		r = check_bytes(window, commit);
	if (r)
		return r;
	for (uint32_t i = 0; i < commit->count; i++)
		before[i] = atomic_exchange(&words[i], commit->words[i]);
	r = flush(window, window->index, commit->first * sizeof(*words),
		  commit->count * sizeof(*words));
	for (uint32_t i = 0; r && i < commit->count; i++)
		atomic_store(&words[i], before[i]);
	return r;
}
