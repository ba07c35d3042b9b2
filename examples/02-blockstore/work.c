/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's connection, ledger and bytes, whatever it does with them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "say.h"
#include "work.h"

volatile int work_is_over;

double work_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* How large an index is the first connection tells: a page until then. */
static size_t index_room(uint32_t blocks)
{
	return ((size_t)blocks * 8 + STORE_PAGE - 1) / STORE_PAGE * STORE_PAGE;
}

static int make_room(struct work *work, uint32_t blocks_max)
{
	size_t room = index_room(blocks_max),
	       data = (size_t)work->target.depth * STORE_BLOCK;
	char *memory = aligned_alloc(STORE_PAGE, data + room);
	uint64_t *ledger = calloc(1, room);

	free(work->target.memory);
	free(work->ledger);
	work->target.memory = memory;
	work->ledger = ledger;
	if (!memory || !ledger)
		return say(-ENOMEM, "no memory for %u blocks at a time",
			   work->target.depth);
	memset(memory, 0x5a, data + room);
	work->target.length = data + room;
	work->buffers = memory;
	work->index = (uint64_t *)(memory + data);
	work->blocks_max = blocks_max;
	return 0;
}

int work_open(struct work *work)
{
	int r = make_room(work, STORE_PAGE / 8);

	if (r)
		return r;
	r = link_open(&work->link, &work->target);
	if (!r && work->link.window.blocks_max > work->blocks_max) {
		link_close(&work->link);
		r = make_room(work, work->link.window.blocks_max);
		if (r)
			return r;
		r = link_open(&work->link, &work->target);
	}
	if (!r)
		r = work_read_index(work);
	return r ? say(r, "%s", work->link.why) : 0;
}

void work_close(struct work *work)
{
	link_close(&work->link);
	free(work->target.memory);
	free(work->ledger);
}

uint32_t work_blocks(const struct work *work)
{
	uint32_t blocks = work->link.window.blocks;

	return blocks < work->limit ? blocks : work->limit;
}

/* The word of a commit that was not answered, or 0. */
static uint64_t unanswered(const struct work *work, uint32_t block)
{
	for (uint32_t i = 0; i < work->batch_count; i++) {
		const struct batch *batch =
			&work->batches[(work->batch_first + i) % WIRE_COMMITS];

		if (block - batch->first < batch->count)
			return batch->words[block - batch->first];
	}
	return 0;
}

static void compare_ledger(struct work *work, uint32_t blocks)
{
	for (uint32_t block = 0; block < blocks; block++) {
		uint64_t word = work->index[block];

		if (word == work->ledger[block] ||
		    (word && word == unanswered(work, block)))
			continue;
		work->result.lost++;
		say(0,
		    "block %u of window %u: sequence %u was committed, the "
		    "index has %u",
		    block, work->target.window,
		    index_sequence(work->ledger[block]), index_sequence(word));
	}
}

/* Nothing is under way: the ledger is what the server has. */
int work_read_index(struct work *work)
{
	uint32_t blocks = work->link.window.blocks;
	struct link_news news;
	int r = link_read_index(&work->link, 0, work->index,
				(size_t)work->link.window.blocks_max * 8);

	while (!r || r == -EINTR) {
		r = link_wait(&work->link, &news);
		if (!r && news.kind == LINK_READ)
			break;
	}
	if (r)
		return r;
	if (work->knows)
		compare_ledger(work, work->link.window.kept);
	memset(work->ledger, 0, (size_t)work->blocks_max * 8);
	memcpy(work->ledger, work->index, (size_t)blocks * 8);
	work->knows = true;
	return 0;
}

/* What was not answered is written again. */
static void step_back(struct work *work)
{
	const struct batch *oldest = &work->batches[work->batch_first];

	if (work->batch_count) {
		work->round = oldest->round;
		work->next_block = oldest->first;
	}
	work->batch_count = 0;
}

int work_reconnect(struct work *work, int error)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	double end = work_now() + work->reconnect_s;

	if (!work->reconnect_s)
		return say(error, "%s", work->link.why);
	do {
		nanosleep(&pause, NULL);
		link_close(&work->link);
		error = link_open(&work->link, &work->target);
		if (!error)
			error = work_read_index(work);
	} while (error && error != -ENXIO && work_now() < end && !work_is_over);
	if (error)
		return say(error, "not connected again within %u s: %s",
			   work->reconnect_s, work->link.why);
	work->result.reconnects++;
	step_back(work);
	return 0;
}

/* splitmix64, from a place that no other version of a block has. */
void work_fill(const struct work *work, uint32_t block, uint32_t sequence,
	       void *buffer)
{
	uint64_t state = work->seed * 0x9e3779b97f4a7c15U ^
			 (uint64_t)work->target.window << 56 ^
			 (uint64_t)block << 32 ^ sequence,
		 *words = buffer;

	for (size_t i = 0; i < STORE_BLOCK / sizeof(*words); i++) {
		uint64_t z = state += 0x9e3779b97f4a7c15U;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
		z = (z ^ z >> 27) * 0x94d049bb133111ebU;
		words[i] = z ^ z >> 31;
	}
}

void work_progress(const struct work *work, const char *what, uint64_t round,
		   uint32_t block)
{
	static const char full[] = "########################################";
	uint32_t blocks = work_blocks(work);
	double part = 0;

	if (work->is_verbose && !block && round)
		say(0, "%s: round %llu is done", what,
		    (unsigned long long)round);
	if (!work->is_bar || !blocks || !work->rounds)
		return;
	part = ((double)round + (double)block / blocks) / (double)work->rounds;
	fprintf(stderr, "\r%-8s [%-40.*s] %3.0f%%%s", what, (int)(part * 40),
		full, part * 100, part >= 1 ? "\n" : "");
}
