/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdma_outsiders FILE STORY OUTSIDER
 *
 * A program whose region on FILE two peers write, read and do atomics on
 * without pause, while another process, OUTSIDER (outsider.c), does to the file
 * what others do in that STORY. No completion may have an error, no context an
 * event, what peers read and what their atomics return must be theirs; in the
 * end shadow, mapping and file must be what outsiders.h says for that
 * on_conflict. Prints how many blocks must have been merged.
 *
 * Where soft-RoCE sends again, it may complete a read or an atomic without its
 * data: a write that comes twice is acknowledged with the PSN of the last
 * request that was carried out (duplicate_request() in rxe_resp.c), and if that
 * is a read or an atomic whose own answer was lost, the plain acknowledgement
 * completes it (COMPST_WRITE_SEND in rxe_comp.c). The words for the answer then
 * are what they were before, UNTOUCHED, which nothing else leaves there. That
 * is let pass, counted, and no more often than requests came twice; that the
 * operation was carried out, and once, the words in the file tell.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "outside.h"
#include "outsiders.h"

#define DEPTH	  16U
#define PATIENCE  60.0 /* seconds in which a completion has to come */
#define LOOK_EACH 256U
/* No word of the file: outsiders.h. */
#define UNTOUCHED 0x756e746f75636865ULL

struct peer {
	struct end server, end;
	struct ibv_mr *mr;
	uint64_t (*buffers)[MESSAGE_WORDS];
};

static struct peer peers[2];
static unsigned int unanswered; /* reads and atomics without their data */
static uint64_t duplicates;	/* that the device had seen before */
static struct board *board;
static uint64_t *file;
static struct ibv_mr *mr;
static uint32_t rkey, lkey;
static enum policy policy;
static pid_t outsider;

static uint64_t word_of(uint32_t number, uint32_t slot, enum kind kind)
{
	uint64_t half = (uint64_t)slot_block(slot) * BLOCK_WORDS +
			(uint64_t)number * HALF_WORDS;

	return kind == ADD    ? half + ADD_WORD
	       : kind == SWAP ? half + SWAP_WORD
			      : half;
}

/* Where outsiders write as well an atomic's result is anybody's guess. */
static bool is_peers_own(uint32_t slot)
{
	return slot_role(slot) == PEERS || slot_role(slot) == SHARED;
}

static void post(uint32_t number)
{
	struct peer *peer = &peers[number];
	uint64_t n = board->begun[number];
	enum kind kind = n % KINDS;
	uint32_t slot = n / KINDS % SLOTS;
	uint64_t round = rounds(n, kind, slot) + 1;
	uint64_t word = word_of(number, slot, kind);
	uint64_t *buffer = peer->buffers[n % DEPTH];
	struct ibv_sge sge = {(uintptr_t)buffer, 8, peer->mr->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {(uintptr_t)(file + word), rkey},
	};
	struct ibv_send_wr *bad;
	int r;

	if (kind == WRITE || kind == READ)
		sge.length = MESSAGE_WORDS * sizeof(*buffer);
	for (uint32_t i = 0; i < sge.length / sizeof(*buffer); i++)
		buffer[i] = kind == WRITE || !is_peers_own(slot)
				    ? base(word + i) + round
				    : UNTOUCHED;
	if (kind == READ)
		wr.opcode = IBV_WR_RDMA_READ;
	if ((kind == ADD || kind == SWAP) && is_peers_own(slot)) {
		wr.opcode = kind == ADD ? IBV_WR_ATOMIC_FETCH_AND_ADD
					: IBV_WR_ATOMIC_CMP_AND_SWP;
		wr.wr.atomic.remote_addr = (uintptr_t)(file + word);
		wr.wr.atomic.rkey = rkey;
		wr.wr.atomic.compare_add =
			kind == ADD ? 1 : base(word) + round - 1;
		wr.wr.atomic.swap = base(word) + round;
	}
	atomic_store(&board->begun[number], n + 1);
	r = ibv_post_send(peer->end.qp, &wr, &bad);
	if (r)
		die("ibv_post_send: %s", strerror(r));
}

/* Of the device, since it is there; 0 where it has no such counter. */
static uint64_t counter(const char *name)
{
	char path[512], text[32] = "";
	FILE *stream;

	snprintf(path, sizeof(path), "%s/ports/1/hw_counters/%s",
		 peers[0].server.context->device->ibdev_path, name);
	stream = fopen(path, "re");
	if (!stream)
		return 0;
	if (!fgets(text, sizeof(text), stream))
		text[0] = '\0';
	fclose(stream);
	return strtoull(text, NULL, 10);
}

/* What the next reader wants to know of an answer that is not right. */
static void tell_around(uint32_t number, uint64_t n, uint64_t word)
{
	static const char *const names[] = {
		"duplicate_request",   "out_of_seq_request",
		"rcvd_seq_err",	       "rcvd_rnr_err",
		"completer_retry_err", "retry_exceeded_err",
		"send_rnr_err",	       "sent_pkts",
		"rcvd_pkts",
	};
	uint64_t other = word ^ HALF_WORDS;

	for (uint32_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		fprintf(stderr, "%s %lu, ", names[i],
			(unsigned long)counter(names[i]));
	fprintf(stderr,
		"%lu duplicates before; %u answers without data before\n",
		(unsigned long)duplicates, unanswered);
	for (uint64_t i = word - 1; i <= word + 1; i++)
		fprintf(stderr, "in the region, word %lu: its base %+ld\n",
			(unsigned long)i, (long)(file[i] - base(i)));
	fprintf(stderr,
		"the other peer's word: its base %+ld; this peer has begun "
		"%lu and done %lu, the other %lu and %lu\n",
		(long)(file[other] - base(other)),
		(unsigned long)board->begun[number], (unsigned long)n,
		(unsigned long)board->begun[!number],
		(unsigned long)board->done[!number]);
}

/* What it brought; a peer sees its own writes in order. */
static void check_result(uint32_t number, uint64_t n)
{
	enum kind kind = n % KINDS;
	uint32_t slot = n / KINDS % SLOTS;
	const uint64_t *buffer = peers[number].buffers[n % DEPTH];
	uint64_t word = word_of(number, slot, kind);
	uint64_t first = rounds(n, kind == READ ? WRITE : kind, slot);
	uint64_t last = first;
	uint32_t words = 1, untouched = 0;

	if (kind == WRITE || !is_peers_own(slot))
		return;
	if (kind == READ) {
		words = MESSAGE_WORDS;
		/* A response that was lost is made again, later. */
		last = rounds(board->begun[number], WRITE, slot);
	}
	for (uint32_t i = 0; i < words; i++) {
		uint64_t by = buffer[i] - base(word + i);

		if (buffer[i] == UNTOUCHED) {
			untouched++;
			continue;
		}
		/* Packets come in order: none after one that is missing. */
		if (by >= first && by <= last && !untouched)
			continue;
		tell_around(number, n, word + i);
		die("peer %u, operation %lu (kind %u) in block %u, word %u: "
		    "%#lx, its base %+ld and not %lu to %lu, %u words before "
		    "it untouched",
		    number, (unsigned long)n, kind, slot_block(slot), i,
		    (unsigned long)buffer[i], (long)by, (unsigned long)first,
		    (unsigned long)last, untouched);
	}
	unanswered += untouched > 0;
}

/* What is complete; false: nothing is. */
static bool poll(uint32_t number)
{
	struct ibv_wc wc[DEPTH];
	int count = ibv_poll_cq(peers[number].end.cq, DEPTH, wc);

	if (count < 0)
		die("ibv_poll_cq failed");
	for (int i = 0; i < count; i++) {
		uint64_t n = board->done[number];

		if (wc[i].status != IBV_WC_SUCCESS)
			die("peer %u, operation %lu in block %u: %s", number,
			    (unsigned long)n,
			    slot_block((uint32_t)(n / KINDS % SLOTS)),
			    ibv_wc_status_str(wc[i].status));
		check_result(number, n);
		atomic_store(&board->done[number], n + 1);
	}
	return count > 0;
}

/* EIO is for who wants a block durable that is in conflict. */
static void sync_blocks(void)
{
	static const uint32_t slots[] = {0, PEERS_SLOTS + SHARED_SLOTS};

	if (atomic_load(&board->sync_asked) == atomic_load(&board->sync_done))
		return;
	for (uint32_t i = 0; i < 2; i++) {
		bool is_both = slot_role(slots[i]) == BOTH;
		void *at = file + word_of(0, slots[i], WRITE);
		int got = msync(at, BLOCK, MS_SYNC) ? errno : 0;

		if (got != (is_both && policy == ERROR ? EIO : 0))
			die("msync of a block of %s: %s",
			    is_both ? "both" : "peers", strerror(got));
	}
	atomic_fetch_add(&board->sync_done, 1);
}

static void look_after_outsider(void)
{
	int status;

	sync_blocks();
	if (!outsider || waitpid(outsider, &status, WNOHANG) != outsider)
		return;
	outsider = 0;
	if (status || !atomic_load(&board->is_over))
		die("the outsider ended with %#x", (unsigned int)status);
}

static void traffic(void)
{
	double last = now();
	unsigned int turns = 0;
	bool is_idle;

	do {
		bool is_some = false;

		is_idle = true;
		for (uint32_t i = 0; i < 2; i++) {
			while (outsider &&
			       board->begun[i] - board->done[i] < DEPTH)
				post(i);
			is_some |= poll(i);
			is_idle &= board->begun[i] == board->done[i];
		}
		if (is_some)
			last = now();
		else if (now() > last + PATIENCE)
			die("no completion in %.0f s", PATIENCE);
		else
			sched_yield();
		if (turns++ % LOOK_EACH == 0)
			look_after_outsider();
	} while (outsider || !is_idle);
}

static void check_no_event(struct end *end)
{
	struct ibv_async_event event;

	if (fcntl(end->context->async_fd, F_SETFL, O_NONBLOCK))
		die("no look at events");
	if (ibv_get_async_event(end->context, &event) == 0)
		die("an event: %s", ibv_event_type_str(event.event_type));
}

static void check_objects(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		check_no_event(&peers[i].server);
		check_no_event(&peers[i].end);
		if (end_state(&peers[i].server) != IBV_QPS_RTS ||
		    end_state(&peers[i].end) != IBV_QPS_RTS)
			die("a QP of peer %u is not ready to send", i);
	}
	if (mr->rkey != rkey || mr->lkey != lkey)
		die("the region has other keys");
}

/* Each took the acknowledgement of a write that came twice. */
static uint64_t check_unanswered(void)
{
	uint64_t twice = counter("duplicate_request") - duplicates;

	if (unanswered > twice)
		die("%u reads and atomics brought no data, and only %lu "
		    "requests came twice",
		    unanswered, (unsigned long)twice);
	return twice;
}

static void check(const char *what, const uint64_t *words, size_t size,
		  bool is_shadow)
{
	struct look look = {
		.board = board,
		.policy = policy,
		.done = {board->done[0], board->done[1]},
		.begun = {board->begun[0], board->begun[1]},
		.is_shadow = is_shadow,
		.is_settled = true,
	};

	if (!look_is_right(&look, what, words, size))
		die("%s is not what it must be", what);
}

static void check_file(const char *path)
{
	FILE *stream = fopen(path, "re");
	uint64_t *words = malloc(2 * SIZE);
	size_t size;

	if (!stream || !words)
		die("%s cannot be read", path);
	size = fread(words, 1, 2 * SIZE, stream);
	if (size != board->size)
		die("%s has %zu bytes and not %lu", path, size,
		    (unsigned long)board->size);
	check("the file", words, size, false);
	fclose(stream);
	free(words);
}

static void start_outsider(char **argv)
{
	int fd = memfd_create("board", 0);
	char number[16];

	if (fd < 0 || ftruncate(fd, sizeof(*board)))
		die("no memory");
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (board == MAP_FAILED)
		die("no memory");
	board->size = SIZE;
	snprintf(number, sizeof(number), "%d", fd);
	outsider = fork();
	if (!outsider) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It is somebody else: no part of daxmr in it. */
		unsetenv("LD_PRELOAD");
		execl(argv[3], argv[3], argv[1], argv[2], number, NULL);
		_exit(127);
	}
	if (outsider < 0)
		die("no process");
}

static void start_peers(void)
{
	end_open(&peers[0].server);
	peers[1].server = peers[0].server;
	mr = NULL;
	for (uint32_t i = 0; i < 2; i++) {
		struct peer *peer = &peers[i];

		peer->buffers = aligned_alloc(4096, 8 * BLOCK);
		if (!peer->buffers)
			die("no memory");
		end_open(&peer->end);
		ends_connect(&peer->server, &peer->end);
		peer->mr = end_register(&peer->end, peer->buffers, 8 * BLOCK,
					IBV_ACCESS_LOCAL_WRITE);
	}
	mr = end_register(&peers[0].server, file, SIZE, REMOTE_ALL);
	rkey = mr->rkey;
	lkey = mr->lkey;
	duplicates = counter("duplicate_request");
}

int main(int argc, char **argv)
{
	struct stat st;
	uint64_t twice;

	if (argc != 4)
		die("usage: rdma_outsiders FILE STORY OUTSIDER");
	policy = policy_of(argv[2]);
	start_outsider(argv);
	file = map_file(argv[1], SIZE);
	for (uint64_t i = 0; i < SIZE / sizeof(*file); i++)
		file[i] = base(i);
	if (stat(argv[1], &st))
		die("no file");
	start_peers();
	traffic();

	check_objects();
	check("the region", file, SIZE, true);
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr failed");
	if (!outside_comes_back(st.st_ino, file))
		die("the file was not mapped back");
	check("the mapping", file, SIZE, false);
	if (!board->is_deleted)
		check_file(argv[1]);
	twice = check_unanswered();
	printf("%lu and %lu operations, %lu blocks to be merged, %lu of them "
	       "in conflict; %lu requests came twice, %u answers without "
	       "data\n",
	       (unsigned long)board->done[0], (unsigned long)board->done[1],
	       (unsigned long)board->merged, (unsigned long)board->conflicts,
	       (unsigned long)twice, unanswered);
	return 0;
}
