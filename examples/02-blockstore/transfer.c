/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's writes and reads: as many at a time as --depth allows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"
#include "work.h"

/* As many commits under way as there are buffers for. */
static uint32_t batches_max(const struct work *work)
{
	uint32_t count = work->target.depth / work->commit_every;

	if (!count)
		return 1;
	return count < WIRE_COMMITS ? count : WIRE_COMMITS;
}

static char *buffer_of(const struct work *work, uint32_t number)
{
	return work->buffers + (size_t)number * STORE_BLOCK;
}

/* Blocks that are under way are not written again before they are committed. */
static uint32_t free_run(const struct work *work)
{
	uint32_t blocks = work_blocks(work), end;

	end = work->next_block + work->commit_every;
	if (end > blocks)
		end = blocks;
	for (uint32_t i = 0; i < work->batch_count; i++) {
		const struct batch *batch =
			&work->batches[(work->batch_first + i) % WIRE_COMMITS];

		if (batch->first < end &&
		    work->next_block < batch->first + batch->count)
			return 0;
	}
	return end > work->next_block ? end - work->next_block : 0;
}

/* The writes, and right behind them the commit: they arrive in this order. */
static int post_batch(struct work *work, uint32_t count, bool is_filled)
{
	uint32_t place = work->next_id % batches_max(work);
	struct batch *batch =
		&work->batches[(work->batch_first + work->batch_count) %
			       WIRE_COMMITS];
	struct wire_commit commit = {
		.head = {.kind = WIRE_COMMIT, .id = work->next_id},
		.first = work->next_block,
		.count = count,
	};
	int r = 0;

	for (uint32_t i = 0; !r && i < count; i++) {
		uint32_t block = work->next_block + i,
			 sequence = index_sequence(work->ledger[block]) + 1;
		char *buffer = buffer_of(work, place * work->commit_every + i);

		if (is_filled)
			work_fill(work, block, sequence, buffer);
		commit.words[i] = index_make(
			sequence, is_filled ? block_checksum(buffer)
					    : (uint32_t)work->index[0]);
		r = link_write(&work->link, buffer, STORE_BLOCK,
			       slot_offset(block, sequence));
	}
	*batch = (struct batch){.id = work->next_id,
				.round = work->round,
				.first = work->next_block,
				.count = count};
	memcpy(batch->words, commit.words, sizeof(batch->words));
	work->batch_count++;
	work->next_id++;
	work->next_block += count;
	return r ? r : link_commit(&work->link, &commit);
}

/* Ends a round where the window ends; false: there is nothing to write now. */
static bool post_some(struct work *work, bool is_filled, int *r)
{
	uint32_t count;

	if (work->link.has_next || work->batch_count == batches_max(work) ||
	    work_is_over || work->round == work->rounds)
		return false;
	if (work->next_block >= work_blocks(work)) {
		if (!work_blocks(work))
			return false;
		work->next_block = 0;
		work->round++;
		work_progress(work, "write", work->round, 0);
		return true;
	}
	count = free_run(work);
	if (!count)
		return false;
	*r = post_batch(work, count, is_filled);
	return !*r;
}

static int take_answer(struct work *work, const struct link_news *news)
{
	const struct batch *batch = &work->batches[work->batch_first];

	if (!work->batch_count || news->number != batch->id)
		return say(-EPROTO, "commit %u is answered, %u is due",
			   news->number, batch->id);
	if (news->error == -ENOSPC && work->limit == WORK_NO_LIMIT)
		work->result.refused += batch->count;
	else if (news->error)
		return say(news->error,
			   "blocks %u to %u of window %u are not committed%s",
			   batch->first, batch->first + batch->count - 1,
			   work->target.window,
			   news->error == -ENOSPC
				   ? ": the file has been cut off; let it grow "
				     "(truncate -s), or write less (--size)"
				   : ", see the server's log");
	for (uint32_t i = 0; !news->error && i < batch->count; i++)
		work->ledger[batch->first + i] = batch->words[i];
	if (!news->error) {
		work->result.commits++;
		work->result.bytes += (uint64_t)batch->count * STORE_BLOCK;
	}
	work->batch_first = (work->batch_first + 1) % WIRE_COMMITS;
	work->batch_count--;
	work_progress(work, "write", work->round, work->next_block);
	return 0;
}

/* Blocks that were cut off are as good as never written. */
static int take_window(struct work *work)
{
	int r = link_take_window(&work->link);

	for (uint32_t i = work->link.window.kept; i < work->blocks_max; i++)
		work->ledger[i] = 0;
	return r;
}

/* One thing after the other until all is written; -errno: the link broke. */
static int write_on(struct work *work, bool is_filled, int *fatal)
{
	struct link_news news;
	int r = 0;

	for (;;) {
		while (post_some(work, is_filled, &r))
			;
		if (r)
			return r;
		if (!work->batch_count && work->link.has_next) {
			r = take_window(work);
			if (r)
				return r;
			continue;
		}
		if (!work->batch_count &&
		    (work_is_over || work->round == work->rounds))
			return 0;
		r = link_wait(&work->link, &news);
		if (r == -EINTR)
			r = 0;
		else if (!r && news.kind == LINK_COMMITTED)
			*fatal = take_answer(work, &news);
		if (r || *fatal)
			return r;
	}
}

static int check_limit(const struct work *work)
{
	if (!work_blocks(work))
		return say(
			-ENOSPC,
			"window %u has no blocks, the file does not reach so "
			"far: let it grow (truncate -s)",
			work->target.window);
	if (work->limit == WORK_NO_LIMIT ||
	    work->limit <= work->link.window.blocks)
		return 0;
	return say(-ENOSPC,
		   "window %u has %u blocks of %u bytes, --size asks for %u: "
		   "let the file grow (truncate -s)",
		   work->target.window, work->link.window.blocks, STORE_BLOCK,
		   work->limit);
}

static void check_block(struct work *work, uint32_t block, const char *buffer,
			char *expected)
{
	uint64_t word = work->ledger[block];
	const char *what = NULL;

	if (block_checksum(buffer) != (uint32_t)word)
		what = "its bytes are not those that were committed";
	work_fill(work, block, index_sequence(word), expected);
	if (!what && memcmp(buffer, expected, STORE_BLOCK))
		what = "it has other bytes than --seed makes";
	if (!what && index_sequence(word) < work->at_least)
		what = "it is older than --at-least";
	if (!what)
		return;
	work->result.torn++;
	say(0, "block %u of window %u, sequence %u: %s", block,
	    work->target.window, index_sequence(word), what);
}

/* Which block is read into which buffer, and which buffers are free. */
struct reads {
	uint32_t *block;
	uint32_t *free;
	uint32_t free_count;
	char *expected; /* room for a block; NULL: nothing is compared */
};

static int post_reads(struct work *work, struct reads *reads, uint32_t *next)
{
	int r = 0;

	for (; !r && reads->free_count && *next < work_blocks(work);
	     (*next)++) {
		uint32_t sequence = index_sequence(work->ledger[*next]), number;

		if (!sequence && reads->expected) {
			work->result.empty++;
			work->result.lost += work->at_least != 0;
			continue;
		}
		number = reads->free[--reads->free_count];
		reads->block[number] = *next;
		r = link_read(&work->link, number, buffer_of(work, number),
			      STORE_BLOCK, slot_offset(*next, sequence));
	}
	return r;
}

/* -errno: the link broke. */
static int read_round(struct work *work, struct reads *reads)
{
	uint32_t next = 0, depth = work->target.depth;
	struct link_news news;
	int r;

	for (reads->free_count = 0; reads->free_count < depth;
	     reads->free_count++)
		reads->free[reads->free_count] = reads->free_count;
	for (;;) {
		r = post_reads(work, reads, &next);
		if (r || reads->free_count == depth)
			return r;
		do
			r = link_wait(&work->link, &news);
		while (r == -EINTR || (!r && news.kind != LINK_READ));
		if (r)
			return r;
		reads->free[reads->free_count++] = news.number;
		work->result.bytes += STORE_BLOCK;
		if (reads->expected)
			check_block(work, reads->block[news.number],
				    buffer_of(work, news.number),
				    reads->expected);
		work_progress(work, "read", work->round, next);
	}
}

/* A round that the link broke in is read again. */
static int read_rounds(struct work *work, struct reads *reads, uint64_t rounds)
{
	int r = 0;

	for (work->round = 0; work->round < rounds && !work_is_over;
	     work->round++) {
		do {
			struct work_result before = work->result;

			r = read_round(work, reads);
			if (!r && work->link.has_next)
				r = take_window(work);
			if (!r)
				break;
			before.reconnects = work->result.reconnects;
			work->result = before;
			r = work_reconnect(work, r);
			if (r)
				return r;
		} while (true);
		work_progress(work, "read", work->round + 1, 0);
	}
	return 0;
}

int work_read(struct work *work, bool is_compared, uint64_t rounds)
{
	struct reads reads = {
		.block = calloc(work->target.depth, sizeof(uint32_t)),
		.free = calloc(work->target.depth, sizeof(uint32_t)),
		.expected = is_compared ? malloc(STORE_BLOCK) : NULL,
	};
	double start = work_now();
	int r = check_limit(work);

	if (!reads.block || !reads.free || (is_compared && !reads.expected))
		r = say(-ENOMEM, "no memory to read");
	if (!r)
		r = read_rounds(work, &reads, rounds);
	work->result.seconds += work_now() - start;
	free(reads.block);
	free(reads.free);
	free(reads.expected);
	return r;
}

/* After a connection was lost: is what was committed all there? */
static int check_all(struct work *work)
{
	struct work_result result = work->result;
	uint64_t round = work->round;
	int r = work_read(work, true, 1);

	work->round = round;
	result.lost = work->result.lost;
	result.torn = work->result.torn;
	result.reconnects = work->result.reconnects;
	work->result = result;
	return r;
}

int work_write(struct work *work, bool is_filled)
{
	double start = work_now();
	int r = check_limit(work), fatal = 0;

	if (!r && !is_filled)
		work->index[0] = block_checksum(work->buffers);
	while (!r) {
		r = write_on(work, is_filled, &fatal);
		if (!r)
			break;
		r = work_reconnect(work, r);
		if (!r && work->is_checked)
			r = check_all(work);
	}
	work->result.seconds += work_now() - start;
	if (!r && !fatal && work->is_checked)
		r = work_read_index(work);
	if (!r && !fatal && work->is_checked)
		r = check_all(work);
	return r ? r : fatal;
}
