/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pinned regions under the preload: the MR goes before others get the file, and
 * what comes back is as long as the file is, under the same struct ibv_mr and
 * the same lkey.
 *
 * The "device" is the stand-in, the files are in the page cache of the current
 * folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit/unit.h"
#include "cannot_trap.h"
#include "daxmr.h"
#include "standin.h"

#define SIZE	 (64 * 4096UL)
#define WAIT_SEC 60
#define RW	 (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)

/* As much as some programs have for each thread, also those that are not
 * theirs.
 */
static _Thread_local volatile char of_each_thread[1 << 20];

static struct standin_control *device;
static struct ibv_pd *pd;
static char path[256];
static int fd;
static char *file;
static struct ibv_mr *mr;
static uint32_t posted_lkey;
static unsigned int refused; /* registrations */

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	(void)qp;
	(void)bad_wr;
	posted_lkey = wr->sg_list->lkey;
	return 0;
}

/* So that windows are seen; nothing comes of them. */
static int bind_mw(struct ibv_qp *qp, struct ibv_mw *mw,
		   struct ibv_mw_bind *bind)
{
	(void)qp;
	(void)bind;
	mw->rkey++;
	return 0;
}

static int dealloc_mw(struct ibv_mw *mw)
{
	(void)mw;
	return 0;
}

static void set_ops(void)
{
	pd->context->ops.post_send = post_send;
	pd->context->ops.bind_mw = bind_mw;
	pd->context->ops.dealloc_mw = dealloc_mw;
}

static unsigned int calls(enum standin_call call)
{
	return __atomic_load_n(&device->seen.calls[call], __ATOMIC_ACQUIRE);
}

static unsigned int registrations(void)
{
	return calls(STANDIN_REG_MR_IOVA2);
}

static int setup(void **state)
{
	of_each_thread[sizeof(of_each_thread) - 1] = 1;
	(void)state;
	snprintf(path, sizeof(path), "./pinned-test-XXXXXX");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	memset(&device->seen, 0, sizeof(device->seen));
	refused = 0;
	mr = ibv_reg_mr(pd, file, SIZE, RW);
	if (!mr)
		print_message("%s\n", daxmr_errormsg());
	assert_non_null(mr);
	assert_int_equal(registrations(), 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (mr)
		assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(calls(STANDIN_DEREG_MR), registrations() - refused);
	munmap(file, SIZE);
	close(fd);
	return unlink(path);
}

static void cut_by_other(off_t size)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(truncate(path, size) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* What the program posts with the key that it got first goes with this. */
static uint32_t key_of_a_post(uint32_t lkey)
{
	struct ibv_qp qp = {.context = pd->context, .pd = pd};
	struct ibv_sge sge = {(uintptr_t)file, 1, lkey};
	struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;

	assert_int_equal(ibv_post_send(&qp, &wr, &bad), 0);
	return posted_lkey;
}

static void wait_for_attempts(unsigned int count)
{
	time_t until = time(NULL) + WAIT_SEC;

	while (registrations() < count) {
		assert_true(time(NULL) < until);
		usleep(1000);
	}
}

/* Has come to its end, too: until then the gate is closed for posts. */
static void wait_for_registrations(unsigned int count)
{
	wait_for_attempts(count);
	key_of_a_post(mr->lkey);
	assert_int_equal(registrations(), count);
}

/* A thread of ours changes it. */
static uint32_t shown_rkey(void)
{
	return __atomic_load_n(&mr->rkey, __ATOMIC_RELAXED);
}

static void recall__mr_comes_back_as_long_as_the_file(void **state)
{
	uint32_t lkey = mr->lkey, rkey = shown_rkey();

	(void)state;
	assert_int_equal(key_of_a_post(lkey), lkey);
	cut_by_other(SIZE / 2);
	/* gone before the other had the file */
	assert_true(calls(STANDIN_DEREG_MR) >= 1);
	wait_for_registrations(2);
	assert_int_equal(device->seen.length, SIZE / 2);
	assert_ptr_equal(device->seen.addr, file);
	assert_int_equal(device->seen.access, RW);
	/* waits for the new key where that is not there yet */
	assert_int_not_equal(key_of_a_post(lkey), lkey);
	assert_int_equal(mr->lkey, lkey);
	assert_int_not_equal(shown_rkey(), rkey);
	assert_int_equal(posted_lkey, shown_rkey());
	cut_by_other(SIZE);
	wait_for_registrations(3);
	assert_int_equal(device->seen.length, SIZE);
}

static void recall__program_cuts_its_own_file(void **state)
{
	(void)state;
	assert_int_equal(ftruncate(fd, SIZE / 4), 0);
	wait_for_registrations(2);
	assert_int_equal(device->seen.length, SIZE / 4);
}

static void recall__nothing_is_left(void **state)
{
	unsigned int gone = calls(STANDIN_DEREG_MR);

	(void)state;
	cut_by_other(0);
	assert_int_equal(calls(STANDIN_DEREG_MR), gone + 1);
	/* a region that has no MR just now */
	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	assert_int_equal(ibv_dealloc_pd(pd), 0);
	assert_int_equal(calls(STANDIN_DEREG_MR), gone + 1);
}

/* Posts wait until it can be registered again, and go with that key. */
static void recall__mr_cannot_be_had_at_first(void **state)
{
	uint32_t lkey = mr->lkey;

	(void)state;
	__atomic_store_n(&device->refuse_all, ENOMEM, __ATOMIC_RELAXED);
	cut_by_other(SIZE / 2);
	/* none that a peer could use */
	assert_int_equal(shown_rkey(), 0);
	assert_int_equal(mr->lkey, lkey);
	wait_for_attempts(4);
	assert_int_equal(shown_rkey(), 0);
	__atomic_store_n(&device->refuse_all, 0, __ATOMIC_RELAXED);
	assert_int_not_equal(key_of_a_post(lkey), lkey);
	refused = registrations() - 2;
	assert_true(refused >= 3);
	assert_int_equal(posted_lkey, shown_rkey());
	assert_int_equal(device->seen.length, SIZE / 2);
}

static void expect_refused(int error, unsigned int access, const char *why)
{
	device->refuse_all = error;
	errno = 0;
	assert_null(ibv_reg_mr(pd, file, SIZE, access));
	assert_int_equal(errno, error);
	device->refuse_all = 0;
	if (!strstr(daxmr_errormsg(), why))
		fail_msg("%s: %s", why, daxmr_errormsg());
	refused++;
}

static void registration__refused_says_what_to_do(void **state)
{
	(void)state;
	expect_refused(EINVAL, IBV_ACCESS_REMOTE_WRITE,
		       "add IBV_ACCESS_LOCAL_WRITE");
	expect_refused(EINVAL, RW | 1U << 10, "access flags, 0x403");
	expect_refused(ENOMEM, RW, "ulimit -l");
	expect_refused(EFAULT, RW, "strategy to daxmr");
}

/* Its second half, on a kernel that pins no such file. */
static int register_staged(struct daxmr_region **ret)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_STAGED};
	int r;

	device->refuse_files = EFAULT;
	r = daxmr_reg_mr(pd, file + SIZE / 2, SIZE / 2, RW, &options, ret);
	device->refuse_files = 0;
	return r;
}

static void staged__file_has_pinned_regions(void **state)
{
	struct daxmr_region *region;

	(void)state;
	assert_int_equal(register_staged(&region), -EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), "pinned"));
	refused = registrations() - 1;
}

static void pinned__file_has_staged_regions(void **state)
{
	struct daxmr_region *region;

	(void)state;
	if (cannot_trap())
		skip();
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	assert_int_equal(register_staged(&region), 0);
	errno = 0;
	mr = ibv_reg_mr(pd, file, SIZE / 2, RW);
	assert_null(mr);
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), "staged"));
	assert_int_equal(daxmr_dereg_mr(region), 0);
	/* and can have them afterwards */
	mr = ibv_reg_mr(pd, file, SIZE / 2, RW);
	assert_non_null(mr);
	refused = registrations() - calls(STANDIN_DEREG_MR) - 1;
}

static void expect_event(struct daxmr_channel *channel,
			 enum daxmr_event_kind kind, uint64_t blocks)
{
	struct daxmr_event *event;

	assert_int_equal(daxmr_event_get(channel, WAIT_SEC * 1000, &event), 0);
	assert_string_equal(daxmr_event_name(event->kind),
			    daxmr_event_name(kind));
	assert_int_equal(event->blocks, blocks);
	assert_int_equal(event->error, 0);
	assert_int_equal(daxmr_event_ack(event), 0);
}

static uint32_t rkey_of(const struct daxmr_region *region)
{
	struct daxmr_info info = {.size = sizeof(info)};

	assert_int_equal(daxmr_region_info(region, &info), 0);
	return info.rkey;
}

/* The last event of each comes with the new key. */
static void events__of_a_region_that_is_cut_and_grows(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED};
	struct daxmr_region *region;
	uint32_t rkey;

	(void)state;
	assert_int_equal(daxmr_channel_open(&options.channel), 0);
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 0);
	rkey = rkey_of(region);
	cut_by_other(SIZE / 2);
	expect_event(options.channel, DAXMR_EVENT_RECALL, 0);
	expect_event(options.channel, DAXMR_EVENT_YIELDED, 0);
	expect_event(options.channel, DAXMR_EVENT_SHRUNK, SIZE / 4096 / 2);
	expect_event(options.channel, DAXMR_EVENT_RETAKEN, 0);
	assert_int_not_equal(rkey_of(region), rkey);
	cut_by_other(SIZE);
	expect_event(options.channel, DAXMR_EVENT_RECALL, 0);
	expect_event(options.channel, DAXMR_EVENT_YIELDED, 0);
	expect_event(options.channel, DAXMR_EVENT_GROWN, SIZE / 4096 / 2);
	expect_event(options.channel, DAXMR_EVENT_RETAKEN, 0);
	assert_int_equal(daxmr_flush(region, 0, SIZE, 0), 0);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_int_equal(daxmr_channel_close(options.channel), 0);
}

static void events__of_a_region_that_is_severed(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED,
					.on_recall = DAXMR_ON_RECALL_SEVER};
	struct daxmr_region *region;
	struct daxmr_event *event;
	bool is_severed = false, is_back = false;

	(void)state;
	assert_int_equal(daxmr_channel_open(&options.channel), 0);
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 0);
	cut_by_other(SIZE / 2);
	while (!is_back) {
		assert_int_equal(daxmr_event_get(options.channel,
						 WAIT_SEC * 1000, &event),
				 0);
		is_severed |= event->kind == DAXMR_EVENT_SEVERED;
		is_back = event->kind == DAXMR_EVENT_RETAKEN;
		assert_int_equal(daxmr_event_ack(event), 0);
	}
	assert_true(is_severed);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_int_equal(daxmr_channel_close(options.channel), 0);
	options.strategy = DAXMR_STRATEGY_STAGED;
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 -EINVAL);
	assert_non_null(strstr(daxmr_errormsg(), "on_recall"));
}

static struct ibv_qp qp_in_rts(struct ibv_pd *of, uint32_t number)
{
	return (struct ibv_qp){.context = of->context,
			       .pd = of,
			       .qp_num = number,
			       .qp_type = IBV_QPT_RC};
}

static void make_ready(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS};

	assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
	assert_int_equal(qp->state, IBV_QPS_RTS);
}

static enum ibv_qp_state state_of(const struct ibv_qp *qp)
{
	return __atomic_load_n(&qp->state, __ATOMIC_RELAXED);
}

/* Those of the PD, before the other has the file; none that come later. */
static void recall__severs_the_qps_of_its_pd(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED,
					.on_recall = DAXMR_ON_RECALL_SEVER};
	struct ibv_pd other_pd = {.context = pd->context, .handle = 1};
	struct ibv_qp mine = qp_in_rts(pd, 17), later = qp_in_rts(pd, 18),
		      other = qp_in_rts(&other_pd, 19);
	struct daxmr_region *region;

	(void)state;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 0);
	make_ready(&mine);
	make_ready(&other);
	cut_by_other(SIZE / 2);
	assert_int_equal(state_of(&mine), IBV_QPS_ERR);
	assert_int_equal(state_of(&other), IBV_QPS_RTS);
	make_ready(&later);
	wait_for_attempts(3);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_int_equal(state_of(&later), IBV_QPS_RTS);
	assert_int_equal(ibv_destroy_qp(&mine), 0);
	assert_int_equal(ibv_destroy_qp(&later), 0);
	assert_int_equal(ibv_destroy_qp(&other), 0);
}

/* It stops its work by itself, or bears what becomes of it. */
static void recall__qps_of_a_program_that_is_asked_are_its_own(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED,
					.on_recall = DAXMR_ON_RECALL_ASK,
					.quiesce_ms = 2000};
	struct ibv_qp mine = qp_in_rts(pd, 17);
	struct daxmr_region *region;
	unsigned int before;

	(void)state;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	assert_int_equal(daxmr_channel_open(&options.channel), 0);
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 0);
	make_ready(&mine);
	before = calls(STANDIN_DEREG_MR);
	cut_by_other(SIZE / 2);
	assert_int_equal(calls(STANDIN_DEREG_MR), before + 1);
	assert_int_equal(state_of(&mine), IBV_QPS_RTS);
	expect_event(options.channel, DAXMR_EVENT_RECALL, 0);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_int_equal(daxmr_channel_close(options.channel), 0);
	assert_int_equal(ibv_destroy_qp(&mine), 0);
}

/* Nobody sees what it binds. */
static void window__is_refused_to_a_program_that_is_asked(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED,
					.on_recall = DAXMR_ON_RECALL_ASK};
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_region *region = NULL;

	(void)state;
	assert_int_equal(daxmr_channel_open(&options.channel), 0);
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW | IBV_ACCESS_MW_BIND,
				      &options, &region),
			 -EOPNOTSUPP);
	assert_null(region);
	assert_non_null(strstr(daxmr_errormsg(), "IBV_ACCESS_MW_BIND"));
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 0);
	assert_int_equal(daxmr_region_info(region, &info), 0);
	errno = 0;
	assert_int_not_equal(ibv_rereg_mr(info.mr, IBV_REREG_MR_CHANGE_ACCESS,
					  NULL, NULL, 0,
					  RW | IBV_ACCESS_MW_BIND),
			     0);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_non_null(strstr(daxmr_errormsg(), "IBV_ACCESS_MW_BIND"));
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_int_equal(daxmr_channel_close(options.channel), 0);
}

static void rereg__keeps_the_lkey(void **state)
{
	uint32_t lkey = mr->lkey;

	(void)state;
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, IBV_ACCESS_LOCAL_WRITE),
			 0);
	assert_int_equal(device->seen.access, IBV_ACCESS_LOCAL_WRITE);
	assert_int_equal(mr->lkey, lkey);
	assert_int_not_equal(key_of_a_post(lkey), lkey);
}

static int move_to(void *addr, size_t length)
{
	return ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, addr,
			    length, 0);
}

/* What a post of the region goes with is what was registered last. */
static void assert_is_at(const void *addr, size_t length)
{
	assert_ptr_equal(mr->addr, addr);
	assert_int_equal(mr->length, length);
	assert_int_equal(calls(STANDIN_DEREG_MR),
			 registrations() - refused - 1);
	assert_int_equal(key_of_a_post(mr->lkey), shown_rkey());
	assert_int_not_equal(shown_rkey(), 0);
}

static void rereg__moves_within_its_file(void **state)
{
	unsigned int before;

	(void)state;
	assert_int_equal(move_to(file + SIZE / 2, SIZE / 4), 0);
	assert_ptr_equal(device->seen.addr, file + SIZE / 2);
	assert_int_equal(device->seen.access, RW);
	assert_is_at(file + SIZE / 2, SIZE / 4);
	/* and is what others wait for from then on */
	before = registrations();
	cut_by_other(SIZE / 2 + 4096);
	wait_for_registrations(before + 1);
	assert_ptr_equal(device->seen.addr, file + SIZE / 2);
	assert_int_equal(device->seen.length, 4096);
	assert_int_equal(key_of_a_post(mr->lkey), shown_rkey());
}

static void rereg__moves_to_another_file(void **state)
{
	char other_path[] = "./pinned-moved-XXXXXX";
	int other_fd = mkostemp(other_path, O_CLOEXEC);
	struct ibv_pd other_pd = *pd;
	unsigned int before;
	char *other;

	(void)state;
	assert_int_equal(ftruncate(other_fd, SIZE), 0);
	other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, other_fd,
		     0);
	assert_ptr_not_equal(other, MAP_FAILED);
	assert_int_equal(ibv_rereg_mr(mr,
				      IBV_REREG_MR_CHANGE_TRANSLATION |
					      IBV_REREG_MR_CHANGE_PD |
					      IBV_REREG_MR_CHANGE_ACCESS,
				      &other_pd, other, SIZE,
				      IBV_ACCESS_LOCAL_WRITE),
			 0);
	assert_int_equal(device->seen.access, IBV_ACCESS_LOCAL_WRITE);
	assert_ptr_equal(mr->pd, &other_pd);
	assert_is_at(other, SIZE);
	/* nobody waits for it in the first file, but in the second */
	before = registrations();
	cut_by_other(SIZE / 2);
	assert_int_equal(calls(STANDIN_DEREG_MR), before - 1);
	assert_int_equal(truncate(other_path, SIZE / 2), 0);
	wait_for_attempts(before + 1);
	assert_int_equal(device->seen.length, SIZE / 2);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	munmap(other, SIZE);
	close(other_fd);
	unlink(other_path);
}

static void rereg__moves_to_memory_and_back(void **state)
{
	static char memory[2 * 4096];
	unsigned int before;

	(void)state;
	assert_int_equal(move_to(memory, sizeof(memory)), 0);
	assert_is_at(memory, sizeof(memory));
	before = registrations();
	cut_by_other(SIZE / 2);
	assert_int_equal(registrations(), before);
	assert_int_equal(calls(STANDIN_DEREG_MR), before - 1);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, IBV_ACCESS_LOCAL_WRITE),
			 0);
	assert_is_at(memory, sizeof(memory));
	assert_int_equal(device->seen.access, IBV_ACCESS_LOCAL_WRITE);
	assert_int_equal(move_to(file, SIZE / 2), 0);
	assert_is_at(file, SIZE / 2);
	before = registrations();
	cut_by_other(4096);
	wait_for_registrations(before + 1);
	assert_int_equal(device->seen.length, 4096);
}

/* Its pages cannot be had again, and it has no MR. */
static void rereg__moves_while_it_is_away(void **state)
{
	static char memory[4096];
	unsigned int before = registrations();

	(void)state;
	__atomic_store_n(&device->refuse_files, ENOMEM, __ATOMIC_RELAXED);
	cut_by_other(SIZE / 2);
	wait_for_attempts(before + 1);
	assert_int_equal(move_to(memory, sizeof(memory)), 0);
	__atomic_store_n(&device->refuse_files, 0, __ATOMIC_RELAXED);
	refused = registrations() - 2;
	assert_is_at(memory, sizeof(memory));
}

static void assert_refused(int result, int error)
{
	assert_int_equal(result, IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, error);
	assert_is_at(file, SIZE);
}

/* As it was, and others who want the file wait for it as before. */
static void rereg__failed_leaves_it_as_it_was(void **state)
{
	static char memory[4096];
	const struct ibv_mr was = *mr;
	struct ibv_context elsewhere = *pd->context;
	struct ibv_pd stranger = {.context = &elsewhere};
	char *again =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned int before;
	int r;

	(void)state;
	assert_refused(move_to(NULL, 4096), EINVAL);
	assert_refused(move_to(file, 0), EINVAL);
	assert_refused(ibv_rereg_mr(mr, 0, NULL, NULL, 0, 0), EINVAL);
	assert_refused(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL,
				    file, 4096, RW),
		       EINVAL);
	assert_refused(
		ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, &stranger, NULL, 0, 0),
		EINVAL);
	/* the device does not register */
	device->refuse_all = ENOMEM;
	r = move_to(again, 4096);
	device->refuse_all = 0;
	refused = registrations() - 1 - calls(STANDIN_DEREG_MR);
	assert_refused(r, ENOMEM);
	device->refuse_memory = EFAULT;
	r = move_to(memory, sizeof(memory));
	device->refuse_memory = 0;
	refused = registrations() - 1 - calls(STANDIN_DEREG_MR);
	assert_refused(r, EFAULT);
	/* or deregister */
	device->refuse_once = 1;
	device->refuse_dereg = EINVAL;
	r = move_to(memory, sizeof(memory));
	assert_int_equal(r, IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(daxmr_errormsg(), "does not deregister"));
	assert_memory_equal(mr, &was, sizeof(was));
	assert_int_equal(key_of_a_post(mr->lkey), shown_rkey());
	before = registrations();
	cut_by_other(SIZE / 2);
	wait_for_registrations(before + 1);
	assert_int_equal(device->seen.length, SIZE / 2);
	refused = registrations() - 1 - calls(STANDIN_DEREG_MR);
	munmap(again, SIZE);
}

static int change_access(unsigned int access)
{
	return ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			    (int)access);
}

/* As soft-RoCE says it of an MR that a window is on. */
static void refuse_dereg_once(void)
{
	device->refuse_once = 1;
	device->refuse_dereg = EINVAL;
}

/* Whatever the device says. */
static void rereg__of_one_that_windows_are_bound_to_is_busy(void **state)
{
	struct ibv_qp qp = {.context = pd->context, .pd = pd};
	struct ibv_mw mw = {.context = pd->context, .pd = pd, .rkey = 0x100};
	struct ibv_mw_bind bind = {.bind_info = {.length = 4096}};
	static char memory[4096];

	(void)state;
	mw.type = IBV_MW_TYPE_1;
	assert_int_equal(change_access(RW | IBV_ACCESS_MW_BIND), 0);
	bind.bind_info.mr = mr;
	bind.bind_info.addr = (uintptr_t)file;
	assert_int_equal(ibv_bind_mw(&qp, &mw, &bind), 0);
	refuse_dereg_once();
	assert_int_equal(move_to(memory, sizeof(memory)),
			 IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EBUSY);
	assert_non_null(strstr(daxmr_errormsg(), "windows are bound to it"));
	refuse_dereg_once();
	assert_int_equal(change_access(RW), IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EBUSY);
	refused = registrations() - 1 - calls(STANDIN_DEREG_MR);
	assert_is_at(file, SIZE);
	assert_int_equal(ibv_dealloc_mw(&mw), 0);
	/* and as it says where there is none */
	refuse_dereg_once();
	assert_int_equal(change_access(RW), IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EINVAL);
	refused = registrations() - 1 - calls(STANDIN_DEREG_MR);
	assert_int_equal(move_to(memory, sizeof(memory)), 0);
	assert_is_at(memory, sizeof(memory));
}

/* Who listens would not hear of the other. */
static void rereg__of_a_listened_region_is_refused(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED};
	struct daxmr_info info = {.size = sizeof(info)};
	struct daxmr_region *region;

	(void)state;
	assert_int_equal(daxmr_channel_open(&options.channel), 0);
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 0);
	assert_int_equal(daxmr_region_info(region, &info), 0);
	errno = 0;
	assert_int_equal(ibv_rereg_mr(info.mr, IBV_REREG_MR_CHANGE_TRANSLATION,
				      NULL, file, 4096, 0),
			 IBV_REREG_MR_ERR_INPUT);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_non_null(strstr(daxmr_errormsg(), "daxmr_reg_mr"));
	assert_int_equal(daxmr_dereg_mr(region), 0);
	assert_int_equal(daxmr_channel_close(options.channel), 0);
}

/* The stand-in has no windows. Who has no peers needs none. */
static void keys__that_cannot_stay_are_refused(void **state)
{
	struct daxmr_options options = {.size = sizeof(options),
					.strategy = DAXMR_STRATEGY_PINNED,
					.keys = DAXMR_KEYS_WINDOW};
	struct daxmr_region *region = NULL;

	(void)state;
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, RW, &options, &region),
			 -EOPNOTSUPP);
	assert_null(region);
	assert_non_null(strstr(daxmr_errormsg(), "keys=window wants"));
	assert_int_equal(daxmr_reg_mr(pd, file, SIZE, IBV_ACCESS_LOCAL_WRITE,
				      &options, &region),
			 0);
	assert_int_equal(daxmr_dereg_mr(region), 0);
}

static void window__may_be_bound(void **state)
{
	struct ibv_mr *bindable;

	(void)state;
	bindable = ibv_reg_mr(pd, file, SIZE, RW | IBV_ACCESS_MW_BIND);
	assert_non_null(bindable);
	assert_int_equal(ibv_dereg_mr(bindable), 0);
}

/* By another process, which does not wait: 0 or an errno. */
static int open_by_other(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) < 0 ? errno
									: 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int error_while_closing;

static void open_while_closing(void)
{
	error_while_closing = open_by_other();
}

/* It goes with the device, and nobody has the file before. */
static void close__mr_cannot_be_deregistered(void **state)
{
	time_t until = time(NULL) + WAIT_SEC;

	(void)state;
	error_while_closing = -1;
	device->refuse_dereg = EBUSY;
	device->closing = open_while_closing;
	assert_int_equal(ibv_close_device(pd->context), 0);
	device->refuse_dereg = 0;
	device->closing = NULL;
	assert_int_equal(error_while_closing, EAGAIN);
	while (open_by_other()) {
		assert_true(time(NULL) < until);
		usleep(1000);
	}
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	/* what was patched in it is gone with a real one */
	set_ops();
}

/* Others cut it off and let it grow: its pages are others then. */
static void tmpfs__is_pinned_where_it_is_asked_for(void **state)
{
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
	};
	struct daxmr_info info = {.size = sizeof(info)};
	unsigned int before = registrations();
	char name[] = "/dev/shm/pinned-test-XXXXXX";
	int memory = mkostemp(name, O_CLOEXEC);
	struct daxmr_region *region;
	struct ibv_mr *ordinary;
	char *addr;
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(ftruncate(memory, SIZE), 0);
	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	assert_ptr_not_equal(addr, MAP_FAILED);
	/* the whole process's wish is not for memory that others share */
	ordinary = ibv_reg_mr(pd, addr, SIZE, RW);
	assert_non_null(ordinary);
	assert_int_equal(fcntl(memory, F_GETLEASE), F_UNLCK);
	assert_int_equal(ibv_dereg_mr(ordinary), 0);
	assert_int_equal(registrations(), before + 1);

	assert_int_equal(daxmr_reg_mr(pd, addr, SIZE, RW, &options, &region),
			 0);
	assert_int_equal(daxmr_region_info(region, &info), 0);
	assert_int_equal(info.strategy, DAXMR_STRATEGY_PINNED);
	assert_int_equal(registrations(), before + 2);
	pid = fork();
	if (pid == 0)
		_exit(truncate(name, SIZE / 2) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	wait_for_attempts(before + 3);
	assert_int_equal(device->seen.length, SIZE / 2);
	assert_ptr_equal(device->seen.addr, addr);
	assert_int_equal(daxmr_dereg_mr(region), 0);
	munmap(addr, SIZE);
	close(memory);
	unlink(name);
}

/* Another region, which gets the key that is free by now. */
struct other {
	char path[256];
	int fd;
	char *file;
	struct ibv_mr *mr;
	uint32_t lkey;
};

static struct other other;

static void *register_other(void *arg)
{
	device->next_key = other.lkey;
	other.mr = ibv_reg_mr(pd, other.file, SIZE, RW);
	return arg;
}

/* As another thread of the program would, and others take that file. */
static void take_key(void)
{
	unsigned int before = registrations();
	time_t until = time(NULL) + WAIT_SEC;
	pthread_t thread;
	pid_t pid;

	if (pthread_create(&thread, NULL, register_other, NULL))
		return;
	pthread_join(thread, NULL);
	pid = fork();
	if (pid == 0)
		_exit(truncate(other.path, SIZE / 2) ? 1 : 0);
	waitpid(pid, NULL, 0);
	while (registrations() < before + 2 && time(NULL) < until)
		usleep(1000);
	/* through when the gate is open again */
	key_of_a_post(other.lkey);
}

static void dereg__another_region_gets_the_key_at_once(void **state)
{
	(void)state;
	snprintf(other.path, sizeof(other.path), "./pinned-other-XXXXXX");
	other.fd = mkostemp(other.path, O_CLOEXEC);
	assert_int_equal(ftruncate(other.fd, SIZE), 0);
	other.file = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			  other.fd, 0);
	assert_ptr_not_equal(other.file, MAP_FAILED);
	other.lkey = mr->lkey;
	device->after = take_key;
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = other.mr;
	assert_non_null(mr);
	assert_int_equal(mr->lkey, other.lkey);
	assert_int_not_equal(shown_rkey(), other.lkey);
	assert_int_equal(key_of_a_post(other.lkey), shown_rkey());
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = NULL;
	munmap(other.file, SIZE);
	close(other.fd);
	unlink(other.path);
}

int main(void)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_REGION(recall__mr_comes_back_as_long_as_the_file),
		WITH_REGION(recall__program_cuts_its_own_file),
		WITH_REGION(recall__nothing_is_left),
		WITH_REGION(recall__mr_cannot_be_had_at_first),
		WITH_REGION(registration__refused_says_what_to_do),
		WITH_REGION(staged__file_has_pinned_regions),
		WITH_REGION(pinned__file_has_staged_regions),
		WITH_REGION(events__of_a_region_that_is_cut_and_grows),
		WITH_REGION(events__of_a_region_that_is_severed),
		WITH_REGION(recall__severs_the_qps_of_its_pd),
		WITH_REGION(recall__qps_of_a_program_that_is_asked_are_its_own),
		WITH_REGION(window__is_refused_to_a_program_that_is_asked),
		WITH_REGION(rereg__keeps_the_lkey),
		WITH_REGION(rereg__moves_within_its_file),
		WITH_REGION(rereg__moves_to_another_file),
		WITH_REGION(rereg__moves_to_memory_and_back),
		WITH_REGION(rereg__moves_while_it_is_away),
		WITH_REGION(rereg__failed_leaves_it_as_it_was),
		WITH_REGION(rereg__of_one_that_windows_are_bound_to_is_busy),
		WITH_REGION(rereg__of_a_listened_region_is_refused),
		WITH_REGION(keys__that_cannot_stay_are_refused),
		WITH_REGION(window__may_be_bound),
		WITH_REGION(tmpfs__is_pinned_where_it_is_asked_for),
		WITH_REGION(dereg__another_region_gets_the_key_at_once),
		WITH_REGION(close__mr_cannot_be_deregistered),
	};

	device = standin_control();
	pd = standin_pd();
	set_ops();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
