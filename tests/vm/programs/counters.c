/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "counters.h"

#define DEPTH	32U
#define WRITTEN (COUNTERS_SIZE / 2)

static uint64_t *word_of(void *bytes, uint32_t slot)
{
	return (uint64_t *)((unsigned char *)bytes + slot * COUNTERS_STRIDE);
}

static const uint64_t *words_in(const unsigned char *bytes, uint32_t slot)
{
	return (const uint64_t *)(bytes + slot * COUNTERS_STRIDE);
}

static void fill(unsigned char *bytes)
{
	fill_pattern(bytes, WRITTEN, 0, 0);
	memset(bytes + WRITTEN, 0, COUNTERS_SIZE - WRITTEN);
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		memset(word_of(bytes, slot), 0, COUNTERS_LENGTH);
}

void counters_make(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned char *bytes = malloc(COUNTERS_SIZE);

	if (!bytes)
		die("no memory");
	fill(bytes);
	if (fd < 0 || write(fd, bytes, WRITTEN) != (ssize_t)WRITTEN ||
	    ftruncate(fd, (off_t)COUNTERS_SIZE) || close(fd))
		die("%s: %s", path, strerror(errno));
	free(bytes);
}

void counters_mark_done(struct counters *counters, struct counters_marks *marks)
{
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		marks->least[slot] = atomic_load(&counters->done[slot]);
}

void counters_mark_begun(struct counters *counters,
			 struct counters_marks *marks)
{
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		marks->most[slot] = atomic_load(&counters->begun[slot]);
}

bool counters_has_least(const unsigned char *bytes,
			const struct counters_marks *marks)
{
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		for (uint32_t i = 0; i < COUNTERS_WORDS; i++)
			if (words_in(bytes, slot)[i] < marks->least[slot])
				return false;
	return true;
}

static bool is_rest_as_it_was(const unsigned char *bytes)
{
	unsigned char *rest = malloc(COUNTERS_SIZE);
	size_t at = 0;

	if (!rest)
		die("no memory");
	fill(rest);
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++)
		memcpy(word_of(rest, slot), words_in(bytes, slot),
		       COUNTERS_LENGTH);
	while (at < COUNTERS_SIZE && rest[at] == bytes[at])
		at++;
	if (at < COUNTERS_SIZE)
		printf("not ok: byte %zu is %#x, not %#x, and nobody wrote "
		       "there\n",
		       at, bytes[at], rest[at]);
	free(rest);
	return at == COUNTERS_SIZE;
}

bool counters_check(const unsigned char *bytes,
		    const struct counters_marks *marks)
{
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++) {
		for (uint32_t i = 0; i < COUNTERS_WORDS; i++) {
			uint64_t is = words_in(bytes, slot)[i];

			if (is >= marks->least[slot] && is <= marks->most[slot])
				continue;
			printf("not ok: word %u of slot %u (%s) is %lu: %lu "
			       "was acknowledged, %lu begun\n",
			       i, slot, slot % 2 ? "the program's" : "a peer's",
			       (unsigned long)is,
			       (unsigned long)marks->least[slot],
			       (unsigned long)marks->most[slot]);
			return false;
		}
	}
	return is_rest_as_it_was(bytes);
}

/* Where a write was half way the words of a slot differ: the next goes on. */
void counters_take(struct counters *counters, const unsigned char *bytes)
{
	for (uint32_t slot = 0; slot < COUNTERS_SLOTS; slot++) {
		const uint64_t *words = words_in(bytes, slot);
		uint64_t least = words[0], most = words[0];

		for (uint32_t i = 1; i < COUNTERS_WORDS; i++) {
			least = words[i] < least ? words[i] : least;
			most = words[i] > most ? words[i] : most;
		}
		atomic_store(&counters->done[slot], least);
		atomic_store(&counters->begun[slot], most);
	}
	atomic_store(&counters->writes, 0);
	atomic_store(&counters->stores, 0);
}

void counters_read(const char *path, unsigned char *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, bytes, COUNTERS_SIZE) != (ssize_t)COUNTERS_SIZE)
		die("%s cannot be read: %s", path, strerror(errno));
	close(fd);
}

static uint64_t begin(struct counters *counters, uint32_t slot)
{
	return atomic_fetch_add(&counters->begun[slot], 1) + 1;
}

static bool post(struct end *peer, struct ibv_mr *mr, uint64_t *from,
		 uint64_t number, uint64_t to, uint32_t rkey)
{
	struct ibv_sge sge = {(uintptr_t)from, COUNTERS_LENGTH, mr->lkey};
	struct ibv_send_wr wr = {
		.wr_id = number,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {to, rkey},
	};
	struct ibv_send_wr *bad;

	return ibv_post_send(peer->qp, &wr, &bad) == 0;
}

static uint32_t peers_slot(uint64_t number)
{
	return (uint32_t)(number % COUNTERS_EACH) * 2;
}

/* Of the completions that are there; false: one was none of a success. */
static bool collect(struct counters *counters, struct end *peer,
		    uint64_t (*buffer)[COUNTERS_WORDS], uint64_t *ended)
{
	bool is_well = true;
	struct ibv_wc wc;
	int n;

	while ((n = ibv_poll_cq(peer->cq, 1, &wc)) > 0) {
		++*ended;
		if (wc.status != IBV_WC_SUCCESS) {
			is_well = false;
			continue;
		}
		atomic_store(&counters->done[peers_slot(wc.wr_id)],
			     buffer[wc.wr_id % DEPTH][0]);
		atomic_fetch_add(&counters->writes, 1);
	}
	if (n < 0)
		die("ibv_poll_cq failed");
	return is_well;
}

void counters_write(struct counters *counters, struct end *peer,
		    uint64_t address, uint32_t rkey, atomic_int *stop)
{
	struct ibv_qp_attr error = {.qp_state = IBV_QPS_ERR};
	uint64_t(*buffer)[COUNTERS_WORDS] = aligned_alloc(4096, DEPTH * 4096UL);
	uint64_t number = 0, ended = 0;
	double deadline;
	struct ibv_mr *mr;

	if (!buffer)
		die("no memory");
	mr = end_register(peer, buffer, DEPTH * COUNTERS_LENGTH,
			  IBV_ACCESS_LOCAL_WRITE);
	while (!atomic_load(stop) && collect(counters, peer, buffer, &ended)) {
		uint32_t slot = peers_slot(number);
		uint64_t *from = buffer[number % DEPTH], value;

		if (number - ended == DEPTH) {
			sched_yield();
			continue;
		}
		value = begin(counters, slot);
		for (uint32_t i = 0; i < COUNTERS_WORDS; i++)
			from[i] = value;
		if (!post(peer, mr, from, number,
			  address + slot * COUNTERS_STRIDE, rkey))
			break;
		number++;
	}
	/* What was not acknowledged by now never will be. */
	ibv_modify_qp(peer->qp, &error, IBV_QP_STATE);
	for (deadline = now() + 20; ended < number;) {
		collect(counters, peer, buffer, &ended);
		if (now() > deadline)
			die("%lu writes never end",
			    (unsigned long)(number - ended));
		sched_yield();
	}
	ibv_dereg_mr(mr);
	free(buffer);
}

void counters_store(struct counters *counters, void *file, atomic_int *stop)
{
	const struct timespec pause = {.tv_nsec = 200000};
	uint64_t number = 0;

	while (!atomic_load(stop)) {
		uint32_t slot = (uint32_t)(number++ % COUNTERS_EACH) * 2 + 1;
		uint64_t value = begin(counters, slot);

		for (uint32_t i = 0; i < COUNTERS_WORDS; i++)
			atomic_store((_Atomic uint64_t *)word_of(file, slot) +
					     i,
				     value);
		atomic_store(&counters->done[slot], value);
		atomic_fetch_add(&counters->stores, 1);
		/* The device needs the processor as well. */
		if (number % 8 == 0)
			nanosleep(&pause, NULL);
	}
}

void counters_copy(struct counters *counters, void *file,
		   counters_copy_fn *copy, struct counters_marks *marks)
{
	uint64_t words[COUNTERS_WORDS];

	for (uint32_t slot = 1; slot < COUNTERS_SLOTS; slot += 2) {
		uint64_t value = begin(counters, slot);

		for (uint32_t i = 0; i < COUNTERS_WORDS; i++)
			words[i] = value;
		copy(word_of(file, slot), words, sizeof(words));
		atomic_store(&counters->done[slot], value);
		marks->least[slot] = value;
	}
}
