/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test of a device's windows: window_test.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "trust_mem.h"
#include "trust_thread.h"
#include "window_bind.h"
#include "window_test.h"

#define PAGE  4096UL
#define ALL   (4 * PAGE)
#define HALF  (2 * PAGE)
#define AT    1001	      /* in a page: of no alignment */
#define BYTES 301	      /* in one message, and several packets */
#define WORD  (PAGE + 2048UL) /* for atomics */

struct test {
	const struct verbs_table *verbs;
	struct ibv_device *device;
	struct window_verdict verdict;
	struct loop loop; /* in a context and PD of its own */
	struct ibv_mw *mw;
	struct ibv_mr *all, *half, *own;
	uint8_t *memory; /* what the window is on */
	uint8_t *other;	 /* what the shorter MR is on, which has its address */
	uint8_t *lands;	 /* one of those: where the window's bytes go */
	uint8_t *buffer; /* the sender's */
};

static bool say(struct test *test, const char *text)
{
	struct window_verdict *verdict = &test->verdict;

	if (!verdict->seen[0])
		snprintf(verdict->seen, sizeof(verdict->seen), "%s%s%s", text,
			 test->loop.reason[0] ? ": " : "", test->loop.reason);
	return false;
}

static struct ibv_mr *make_mr(struct test *test, void *at, size_t length,
			      const void *address, unsigned int access)
{
	return test->verbs->reg_mr_iova2(test->loop.pd, at, length,
					 (uintptr_t)address,
					 IBV_ACCESS_LOCAL_WRITE | access);
}

static bool open_device(struct test *test)
{
	const struct verbs_table *verbs = test->verbs;
	struct ibv_context *context;
	struct ibv_pd *pd;

	if (!verbs->reg_mr_iova2)
		return say(test, "libibverbs has no ibv_reg_mr_iova2()");
	if (test->device->transport_type != IBV_TRANSPORT_IB)
		return say(test, "it is none of InfiniBand or RoCE");
	context = verbs->open_device(test->device);
	if (!context)
		return say(test, "it cannot be opened");
	pd = verbs->alloc_pd(context);
	if (!pd || !context->ops.alloc_mw || !context->ops.dealloc_mw ||
	    window_loop_open(&test->loop, verbs, pd)) {
		say(test, pd ? "it has no windows, or no port that is up"
			     : "no protection domain");
		window_loop_close(&test->loop);
		if (pd)
			verbs->dealloc_pd(pd);
		verbs->close_device(context);
		return false;
	}
	return true;
}

static bool make_objects(struct test *test)
{
	test->mw =
		test->loop.context->ops.alloc_mw(test->loop.pd, IBV_MW_TYPE_1);
	if (!test->mw)
		return say(test, "it has no memory windows of type 1");
	test->memory = memory_map(ALL);
	test->other = memory_map(ALL);
	test->buffer = memory_map(PAGE);
	if (!test->memory || !test->other || !test->buffer)
		return say(test, "no memory");
	test->all = make_mr(test, test->memory, ALL, test->memory,
			    IBV_ACCESS_MW_BIND);
	test->half = make_mr(test, test->other, HALF, test->memory,
			     IBV_ACCESS_MW_BIND);
	test->own = make_mr(test, test->buffer, PAGE, test->buffer, 0);
	if (!test->all || !test->half || !test->own)
		return say(test, "memory for windows cannot be registered");
	return true;
}

/* 0 in the end, where something is wrong the first of it is said. */
static bool drop(struct test *test, struct ibv_mr **mr)
{
	int r = *mr ? test->verbs->dereg_mr(*mr) : 0;

	*mr = r ? *mr : NULL;
	return r ? say(test, "an MR that its window has left does not go")
		 : true;
}

static void close_all(struct test *test)
{
	struct ibv_context *context = test->loop.context;
	struct ibv_pd *pd = test->loop.pd;

	if (test->mw)
		context->ops.dealloc_mw(test->mw);
	drop(test, &test->all);
	drop(test, &test->half);
	drop(test, &test->own);
	memory_unmap(test->memory, ALL);
	memory_unmap(test->other, ALL);
	memory_unmap(test->buffer, PAGE);
	window_loop_close(&test->loop);
	test->verbs->dealloc_pd(pd);
	test->verbs->close_device(context);
}

static bool bind(struct test *test, struct ibv_mr *mr, uint64_t length)
{
	struct window_range range = {
		.mr = mr,
		.addr = (uintptr_t)test->memory,
		.length = length,
		.access = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ,
	};
	uint32_t rkey = test->mw->rkey;

	test->lands = mr == test->half ? test->other : test->memory;
	if (test->loop.attr.orig_attr.atomic_cap != IBV_ATOMIC_NONE)
		range.access |= IBV_ACCESS_REMOTE_ATOMIC;
	if (window_bind(&test->loop, test->mw, &range, WINDOW_PATIENCE_NS))
		return say(test, "a window is not bound");
	return rkey == test->mw->rkey ||
	       say(test, "a window's key changes with the bind");
}

/* How an access to the window ends. False: nobody knows. */
static bool do_it(struct test *test, enum ibv_wr_opcode opcode, uint64_t offset,
		  uint32_t length, enum ibv_wc_status *ret)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)test->buffer,
		.length = length,
		.lkey = test->own->lkey,
	};
	struct ibv_send_wr wr = {
		.opcode = opcode,
		.sg_list = &sge,
		.num_sge = 1,
	};

	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = (uintptr_t)test->memory + offset;
		wr.wr.atomic.rkey = test->mw->rkey;
		wr.wr.atomic.compare_add = 5;
	} else {
		wr.wr.rdma.remote_addr = (uintptr_t)test->memory + offset;
		wr.wr.rdma.rkey = test->mw->rkey;
	}
	return !window_run(&test->loop, &wr, WINDOW_PATIENCE_NS, ret) ||
	       say(test, "an access by a window has no end");
}

/* A write and a read there do what they should. */
static bool reaches(struct test *test, uint64_t offset, uint8_t letter)
{
	enum ibv_wc_status status;
	const uint8_t *at = test->lands + offset;

	memset(test->buffer, letter, BYTES);
	if (!do_it(test, IBV_WR_RDMA_WRITE, offset, BYTES, &status))
		return false;
	if (status != IBV_WC_SUCCESS)
		return say(test, "a write by a window that is bound fails");
	if (memcmp(at, test->buffer, BYTES) || at[-1] || at[BYTES])
		return say(test, "a write by a window goes astray");
	memset(test->buffer, 0, BYTES);
	if (!do_it(test, IBV_WR_RDMA_READ, offset, BYTES, &status))
		return false;
	if (status != IBV_WC_SUCCESS || memcmp(at, test->buffer, BYTES))
		return say(test, "a read by a window fails or goes astray");
	return true;
}

/* The peer hears of it, and no byte has changed. */
static bool refuses(struct test *test, enum ibv_wr_opcode opcode,
		    uint64_t offset)
{
	enum ibv_wc_status status;

	memset(test->buffer, 0xee, BYTES);
	if (!do_it(test, opcode, offset, BYTES, &status))
		return false;
	for (uint64_t i = 0; i < BYTES; i++)
		if (test->memory[offset + i] == 0xee ||
		    test->other[offset + i] == 0xee)
			return say(test, "a write beyond a window is done");
	return status == IBV_WC_REM_ACCESS_ERR ||
	       say(test, "an access beyond a window does not end with a "
			 "remote access error");
}

static void try_atomics(struct test *test)
{
	enum ibv_wc_status status;
	uint64_t value = 7, before;

	if (test->loop.attr.orig_attr.atomic_cap == IBV_ATOMIC_NONE)
		return;
	memcpy(test->memory + WORD, &value, sizeof(value));
	if (!do_it(test, IBV_WR_ATOMIC_FETCH_AND_ADD, WORD, sizeof(value),
		   &status))
		return;
	memcpy(&value, test->memory + WORD, sizeof(value));
	memcpy(&before, test->buffer, sizeof(before));
	test->verdict.has_atomics =
		status == IBV_WC_SUCCESS && value == 12 && before == 7;
}

static bool look(struct test *test)
{
	if (!bind(test, test->all, ALL) || !reaches(test, AT, 1) ||
	    !reaches(test, HALF + AT, 2))
		return false;
	/* shorter */
	if (!bind(test, test->half, HALF) || !drop(test, &test->all) ||
	    !reaches(test, AT, 3) ||
	    !refuses(test, IBV_WR_RDMA_WRITE, HALF + AT) ||
	    !refuses(test, IBV_WR_RDMA_READ, HALF + AT) ||
	    !refuses(test, IBV_WR_RDMA_READ, HALF - BYTES + 1))
		return false;
	/* nothing, and what it was on is not in the way any more */
	if (!bind(test, test->half, 0) ||
	    !refuses(test, IBV_WR_RDMA_WRITE, AT) || !drop(test, &test->half))
		return false;
	/* and all again */
	test->all = make_mr(test, test->memory, ALL, test->memory,
			    IBV_ACCESS_MW_BIND);
	if (!test->all)
		return say(test, "memory for windows cannot be registered");
	if (!bind(test, test->all, ALL) || !reaches(test, AT, 4) ||
	    !reaches(test, HALF + AT, 5))
		return false;
	try_atomics(test);
	snprintf(test->verdict.seen, sizeof(test->verdict.seen),
		 "a window that was bound four times with one key reached what "
		 "it should and nothing else, atomics %s",
		 test->verdict.has_atomics ? "too" : "none");
	return true;
}

/* The likeliest address first. */
static bool look_by_any_address(struct test *test)
{
	struct loop *loop = &test->loop;
	enum ibv_wc_status status;

	for (loop->used_address = 0; loop->used_address < loop->addresses;
	     loop->used_address++) {
		test->verdict.seen[0] = '\0';
		if (!bind(test, test->all, ALL) ||
		    !do_it(test, IBV_WR_RDMA_WRITE, AT, BYTES, &status))
			continue;
		if (status != IBV_WC_RETRY_EXC_ERR)
			return look(test);
		say(test, "its port does not reach itself");
	}
	return false;
}

static void run_test(void *arg)
{
	struct test *test = arg;
	uint64_t start_ns = loop_now_ns();

	if (open_device(test)) {
		test->verdict.is_right =
			make_objects(test) && look_by_any_address(test);
		close_all(test);
	}
	test->verdict.time_us =
		(unsigned int)((loop_now_ns() - start_ns) / 1000);
}

void window_test(const struct verbs_table *verbs, struct ibv_device *device,
		 struct window_verdict *ret)
{
	int saved_errno = errno, r = -ENOMEM;
	struct test *test = memory_map(sizeof(*test)); /* all zeroes */

	*ret = (struct window_verdict){.seen = "no thread to test with"};
	if (test) {
		test->verbs = verbs;
		test->device = device;
		r = thread_run(run_test, test);
	}
	if (!r)
		*ret = test->verdict;
	memory_unmap(test, sizeof(*test));
	errno = saved_errno;
}
