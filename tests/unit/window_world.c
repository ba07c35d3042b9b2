/* SPDX-License-Identifier: BSD-2-Clause */
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "leases.h"
#include "log.h"
#include "own.h"
#include "reason.h"
#include "stage_limits.h"
#include "window_world.h"

char *memory;
int shadow_fd;
struct real_verbs real;
struct ibv_context *context;
struct ibv_pd *pd;
struct ibv_mr *mr;
struct window *window;
struct lease_terms terms;
struct lease_listener *listener;
bool is_one_piece;
_Atomic uint64_t file_size;
_Atomic enum recall_state state_now;
static _Atomic uint64_t reports;
struct window_verdict verdict;

static struct lease *const lease = (struct lease *)&file_size;
const struct stage *const stage = (const struct stage *)&file_size;

_Atomic int clearings;
_Atomic size_t cleared_at;
atomic_bool has_no_room;
_Atomic int told;
_Atomic int tellings;
_Atomic int unseen;

static void tell(struct window_ear *who, int error)
{
	(void)who;
	told = error;
	tellings++;
}

struct window_ear ear = {tell};

void log_write(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

struct lease *stage_lease(const struct stage *of, size_t i)
{
	(void)of;
	return i ? NULL : lease;
}

struct lease *stage_piece(const struct stage *of, uint64_t *ret_offset)
{
	(void)of;
	*ret_offset = OFFSET;
	return is_one_piece ? lease : NULL;
}

const struct lease_terms *lease_terms(const struct lease *of)
{
	(void)of;
	return &terms;
}

int lease_alias(struct lease *of, uint64_t offset, uint64_t length,
		uintptr_t addr)
{
	assert_ptr_equal(of, lease);
	assert_int_equal(offset, OFFSET);
	assert_int_equal(length, LENGTH);
	assert_ptr_equal(mmap((void *)addr, length, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, shadow_fd, 0),
			 (void *)addr);
	return 0;
}

struct lease_engine *leases_engine(void)
{
	return (struct lease_engine *)&file_size;
}

void own_begin(struct lease_engine *engine, dev_t dev, ino_t ino,
	       enum keeper_own kind, struct own *own)
{
	assert_ptr_equal(engine, leases_engine());
	assert_int_equal(dev, DEV);
	assert_int_equal(ino, INO);
	assert_int_equal(kind, KEEPER_OWN_CHANGE);
	own->effect = OWN_NOTHING;
}

void own_end(struct own *own)
{
	assert_int_equal(own->effect, OWN_RESIZED);
	cleared_at = window_fake.length;
	clearings++;
}

int stage_limits_check_again(uint64_t bytes)
{
	return has_no_room ? reason_set(-ENOMEM, "no room for %ju bytes",
					(uintmax_t)bytes)
			   : 0;
}

int lease_size(struct lease *of, uint64_t *ret)
{
	(void)of;
	if (unseen) {
		unseen--;
		return reason_set(-EBADF, "the test");
	}
	*ret = file_size;
	return 0;
}

enum recall_state lease_state(const struct lease *of)
{
	(void)of;
	return state_now;
}

uint64_t lease_reports(const struct lease *of)
{
	(void)of;
	return reports;
}

void lease_file(const struct lease *of, dev_t *ret_dev, ino_t *ret_ino)
{
	(void)of;
	*ret_dev = DEV;
	*ret_ino = INO;
}

int lease_news_listen(struct lease_listener *who, struct lease *to)
{
	assert_ptr_equal(to, lease);
	listener = who;
	return 0;
}

void lease_news_unlisten(struct lease_listener *who)
{
	assert_ptr_equal(who, listener);
	listener = NULL;
}

void window_verdict_get(const struct verbs_table *verbs,
			struct ibv_device *device, struct window_verdict *ret)
{
	(void)verbs;
	(void)device;
	*ret = verdict;
}

struct region_call world_call(unsigned int access)
{
	return (struct region_call){
		.real = &real,
		.pd = pd,
		.addr = memory,
		.length = LENGTH,
		.iova = (uintptr_t)memory,
		.access = IBV_ACCESS_LOCAL_WRITE | access,
	};
}

void world_open(void)
{
	struct region_call call = world_call(REMOTE);

	assert_int_equal(window_is_wanted(&call, stage), 1);
	mr = real.table.reg_mr_iova2(pd, memory, LENGTH, (uintptr_t)memory,
				     window_mr_access(call.access));
	assert_int_equal(fake.access,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	assert_int_equal(window_open(&call, stage, mr, &window), 0);
	assert_int_equal(mr->rkey, WINDOW_KEY);
}

void world_close(void)
{
	window_close(window);
	assert_null(listener);
	assert_int_equal(mr->rkey, mr->lkey);
	assert_int_equal(real.table.dereg_mr(mr), 0);
}

int world_set_up(void **state)
{
	(void)state;
	shadow_fd = memfd_create("shadow", MFD_CLOEXEC);
	assert_int_equal(ftruncate(shadow_fd, LENGTH), 0);
	memory = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED,
		      shadow_fd, 0);
	assert_true(memory != MAP_FAILED);
	clearings = told = tellings = unseen = 0;
	has_no_room = false;
	window_patience_ns = (int64_t)WINDOW_PATIENCE_NS;
	fake_reset();
	window_fake_reset();
	real.table = window_fake.table;
	context = real.table.open_device(&fake.device);
	pd = real.table.alloc_pd(context);
	terms.on_shrink = ON_SHRINK_ERROR;
	is_one_piece = true;
	verdict = (struct window_verdict){
		.is_right = true, .has_atomics = true, .seen = "the test"};
	file_size = OFFSET + LENGTH;
	state_now = RECALL_HELD;
	return 0;
}

int world_tear_down(void **state)
{
	(void)state;
	assert_int_equal(fake.live, 2);
	real.table.dealloc_pd(pd);
	real.table.close_device(context);
	munmap(memory, LENGTH);
	close(shadow_fd);
	return 0;
}

void world_wait_reach(size_t length)
{
	int64_t deadline_ns = clock_now_ns() + 30000000000LL;

	while (window_fake.length != length) {
		assert_true(clock_now_ns() < deadline_ns);
		usleep(1000);
	}
	assert_int_equal(mr->rkey, WINDOW_KEY);
}

void world_hear(void)
{
	const struct recall_report report = {.from = RECALL_MERGING,
					     .to = RECALL_HELD,
					     .cause = RECALL_MERGED};

	reports++;
	listener->changed(listener, &report, 0);
}

void world_settle(void)
{
	struct window_still still;

	window_pause(&still);
	window_resume(&still);
}

void world_wait_dealloced(void)
{
	int64_t deadline_ns = clock_now_ns() + 30000000000LL;

	while (!window_fake.dealloced) {
		assert_true(clock_now_ns() < deadline_ns);
		usleep(1000);
	}
	world_settle();
	assert_null(window_fake.bound);
}
