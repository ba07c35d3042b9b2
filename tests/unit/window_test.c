/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test of a device's memory windows, on fake devices that do what they
 * should, and on such as do not.
 */
#include <errno.h>
#include <string.h>

#include "odp_fake_sysfs.h"
#include "odp_fake_verbs.h"
#include "unit.h"
#include "window/window_test.h"

#define KEY 0x4711
#define REMOTE                                                                 \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ |                    \
	 IBV_ACCESS_REMOTE_ATOMIC)

enum fault {
	RIGHT,
	NONE,	    /* it has no windows */
	NO_MORE,    /* none is to be had */
	STICKS,	    /* the first bind stays, whatever is said */
	UNBOUNDED,  /* reaches all memory */
	ALWAYS_SET, /* a bind to nothing is none */
	NEW_KEY,    /* each bind changes the key */
	NO_ATOMICS,
	REFUSES,  /* the bind ends with an error */
	FULL,	  /* the bind is not taken */
	KEEPS_MR, /* an MR that was bound once does not go */
	SHIFTED	  /* goes to another place of the MR */
};

static enum fault fault;
static int bindings;
static int kept; /* MRs whose deregistration has failed */
static struct ibv_mw window;
static struct fake_mr *bound, *first;
static struct verbs_table table;

static struct ibv_mw *alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
	assert_int_equal(type, IBV_MW_TYPE_1);
	if (fault == NO_MORE) {
		errno = ENOMEM;
		return NULL;
	}
	window = (struct ibv_mw){.pd = pd, .rkey = KEY};
	fake.live++;
	return &window;
}

static int dealloc_mw(struct ibv_mw *mw)
{
	assert_ptr_equal(mw, &window);
	bound = NULL;
	fake.live--;
	return 0;
}

static struct ibv_context *open_device(struct ibv_device *device)
{
	struct ibv_context *context = fake_verbs.open_device(device);

	if (context && fault != NONE) {
		context->ops.alloc_mw = alloc_mw;
		context->ops.dealloc_mw = dealloc_mw;
	}
	return context;
}

static int dereg_mr(struct ibv_mr *mr)
{
	if (bound == (struct fake_mr *)mr ||
	    (fault == KEEPS_MR && first == (struct fake_mr *)mr && bound))
		return EINVAL;
	/* An MR that does not go is there. */
	if (fake.calls + 1 == fake.fail_at) {
		fake.calls++;
		kept++;
		return EBUSY;
	}
	return fake_verbs.dereg_mr(mr);
}

static void bind(const struct ibv_mw_bind_info *info)
{
	bindings++;
	if (fault == NEW_KEY)
		window.rkey++;
	if ((fault == STICKS && bound) ||
	    (fault == ALWAYS_SET && !info->length))
		return;
	if (!first)
		first = (struct fake_mr *)info->mr;
	bound = info->length ? (struct fake_mr *)info->mr : NULL;
}

/* A completion that says so, by a write of nothing. */
static int complete(struct ibv_qp *qp, uint64_t wr_id, bool is_good)
{
	struct ibv_sge nothing = {0};
	struct ibv_send_wr wr =
				   {
					   .wr_id = wr_id,
					   .opcode = IBV_WR_RDMA_READ,
					   .sg_list = &nothing,
					   .num_sge = !is_good,
				   },
			   *bad_wr;

	nothing.length = !is_good;
	return fake_verbs.post_send(qp, &wr, &bad_wr);
}

/* Wherever that is. */
static int reach_anything(struct ibv_qp *qp, const struct ibv_send_wr *wr)
{
	void *local = (void *)(uintptr_t)wr->sg_list[0].addr;
	void *remote = (void *)(uintptr_t)wr->wr.rdma.remote_addr;

	if (wr->opcode == IBV_WR_RDMA_READ)
		memcpy(local, remote, wr->sg_list[0].length);
	else
		memcpy(remote, local, wr->sg_list[0].length);
	return complete(qp, wr->wr_id, true);
}

/* rxe looks at no bounds of the window, only at those of its MR. */
static int access_window(struct ibv_qp *qp, struct ibv_send_wr *wr,
			 struct ibv_send_wr **bad_wr)
{
	bool is_atomic = wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
	struct fake_mr *on = bound;
	struct ibv_send_wr real = *wr;
	unsigned int before;
	int r;

	if (!on || (is_atomic && fault == NO_ATOMICS))
		return complete(qp, wr->wr_id, false);
	if (fault == UNBOUNDED)
		return reach_anything(qp, wr);
	if (is_atomic) {
		real.wr.atomic.rkey = on->mr.rkey;
	} else {
		real.wr.rdma.rkey = on->mr.rkey;
		real.wr.rdma.remote_addr += fault == SHIFTED;
	}
	before = on->access;
	on->access |= REMOTE;
	r = fake_verbs.post_send(qp, &real, bad_wr);
	on->access = before;
	return r;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	if (wr->opcode != IBV_WR_BIND_MW)
		return access_window(qp, wr, bad_wr);
	if (fault == FULL)
		return ENOMEM;
	if (fault == REFUSES)
		return complete(qp, wr->wr_id, false);
	bind(&wr->bind_mw.bind_info);
	return complete(qp, wr->wr_id, true);
}

static int set_up(void **state)
{
	fake_reset();
	if (state && sysfs_setup(state))
		return -1;
	strcpy(fake.device.name, sysfs_device());
	fake.device.transport_type = IBV_TRANSPORT_IB;
	table = fake_verbs;
	table.open_device = open_device;
	table.dereg_mr = dereg_mr;
	table.post_send = post_send;
	fault = RIGHT;
	bindings = kept = 0;
	bound = first = NULL;
	return 0;
}

/* Everything goes again, however it ends. */
static struct window_verdict tested(enum fault with)
{
	struct window_verdict verdict;

	fault = with;
	bound = first = NULL;
	errno = 4711;
	window_test(&table, &fake.device, &verdict);
	assert_int_equal(errno, 4711);
	assert_int_equal(fake.live, 0);
	assert_true(verdict.seen[0]);
	return verdict;
}

static void check_wrong(enum fault with, const char *seen)
{
	struct window_verdict verdict = tested(with);

	assert_false(verdict.is_right);
	if (!strstr(verdict.seen, seen))
		fail_msg("'%s' is not in: %s", seen, verdict.seen);
}

static void right__is_seen(void **state)
{
	struct window_verdict verdict = tested(RIGHT);

	(void)state;
	assert_true(verdict.is_right);
	assert_true(verdict.has_atomics);
	assert_true(bindings >= 4);
}

static void right__without_atomics_says_so(void **state)
{
	struct window_verdict verdict = tested(NO_ATOMICS);

	(void)state;
	assert_true(verdict.is_right);
	assert_false(verdict.has_atomics);
	fake.attr.orig_attr.atomic_cap = IBV_ATOMIC_NONE;
	verdict = tested(RIGHT);
	assert_true(verdict.is_right);
	assert_false(verdict.has_atomics);
}

static void wrong__each_is_seen(void **state)
{
	(void)state;
	check_wrong(NONE, "no windows");
	check_wrong(NO_MORE, "no memory windows");
	check_wrong(STICKS, "does not go");
	check_wrong(KEEPS_MR, "does not go");
	check_wrong(UNBOUNDED, "beyond a window is done");
	check_wrong(NEW_KEY, "key changes");
	check_wrong(REFUSES, "not bound");
	check_wrong(FULL, "not bound");
	check_wrong(SHIFTED, "goes astray");
}

static void wrong__bound_to_nothing_still_reaches(void **state)
{
	(void)state;
	check_wrong(ALWAYS_SET, "beyond a window is done");
}

static void wrong__iwarp_or_no_port_is_no_device_for_it(void **state)
{
	(void)state;
	fake.device.transport_type = IBV_TRANSPORT_IWARP;
	check_wrong(RIGHT, "InfiniBand or RoCE");
	assert_int_equal(fake.opened, 0);
	fake.device.transport_type = IBV_TRANSPORT_IB;
	fake.port.state = IBV_PORT_DOWN;
	check_wrong(RIGHT, "no port is active");
	fake.port.state = IBV_PORT_ACTIVE;
	table.reg_mr_iova2 = NULL;
	check_wrong(RIGHT, "ibv_reg_mr_iova2");
}

/* Whatever verb fails: nothing is left, and the device is not right. */
static void any_verb_fails__nothing_stays(void **state)
{
	struct window_verdict verdict;
	int calls, wrong = 0;

	(void)state;
	tested(RIGHT);
	calls = fake.calls;
	for (int i = 1; i <= calls; i++) {
		set_up(NULL);
		fake.fail_at = i;
		window_test(&table, &fake.device, &verdict);
		wrong += !verdict.is_right;
		assert_true(fake.live <= kept);
	}
	/* but for those that undo */
	assert_true(wrong > calls / 2);
}

static void verdict__is_asked_for_once(void **state)
{
	struct window_verdict verdict;

	(void)state;
	window_verdict_get(&table, &fake.device, &verdict);
	assert_true(verdict.is_right);
	assert_int_equal(fake.opened, 1);
	fault = NONE;
	window_verdict_get(&table, &fake.device, &verdict);
	assert_true(verdict.is_right);
	assert_int_equal(fake.opened, 1);
}

/* sysfs does not show it: nobody knows whether it is the same one. */
static void verdict__of_what_cannot_be_told_is_not_kept(void **state)
{
	struct window_verdict verdict;

	(void)state;
	strcpy(fake.device.name, "nobody0");
	window_verdict_get(&table, &fake.device, &verdict);
	window_verdict_get(&table, &fake.device, &verdict);
	assert_int_equal(fake.opened, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, sysfs_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(right__is_seen),
		TEST(right__without_atomics_says_so),
		TEST(wrong__each_is_seen),
		TEST(wrong__bound_to_nothing_still_reaches),
		TEST(wrong__iwarp_or_no_port_is_no_device_for_it),
		TEST(any_verb_fails__nothing_stays),
		TEST(verdict__is_asked_for_once),
		TEST(verdict__of_what_cannot_be_told_is_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
