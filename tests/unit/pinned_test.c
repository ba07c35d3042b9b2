/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due for pinned regions, and in which order it is done: the thread,
 * the gates and the program's own calls, with a gate, an MR and a lease that
 * are the test's own.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "gate/gate_cm.h"
#include "log.h"
#include "pinned_own.h"
#include "pinned_parts.h"
#include "reason.h"
#include "unit.h"

#define REGIONS	 20
#define DEV	 7
#define INO	 11
#define WAIT_SEC 30
#define LENGTH	 4096
#define ADDR	 0x10000

static struct ibv_device device = {.name = "none0"};
static struct ibv_context context = {.device = &device};
static struct ibv_pd pds[2] = {{.context = &context}, {.context = &context}};
static struct pinned regions[REGIONS];
#define QUIESCE_NS 20000000000LL

/* What was done. */
static atomic_uint closed, drained, opened, severed, gone, back, agreed;
/* What is to fail: so many QPs cannot be drained; registrations with errno. */
static atomic_int left, refuse;
static atomic_uint refused, refused_dereg;
static atomic_int why_severed;
static atomic_uint logged_late;
static atomic_uint told[PINNED_SEVERED + 1];
static atomic_bool keep; /* deregistrations fail */
/*
 * Registrations, closings and drains of the first PD's gate, the end of
 * connections: they wait until it is off.
 */
static atomic_bool hold_making, hold_closing, hold_disconnecting, hold_draining;
static atomic_uint disconnected;
static atomic_uint held;

void log_try_write(enum log_level level, const char *format, ...)
{
	(void)level;
	if (strstr(format, "while its MR was still there"))
		atomic_fetch_add(&logged_late, 1);
}

static void wait_while(const atomic_bool *hold)
{
	int64_t until_ns = clock_now_ns() + 2 * WAIT_SEC * 1000000000LL;
	const struct timespec pause = {0, 1000000};

	if (!atomic_load(hold))
		return;
	atomic_fetch_add(&held, 1);
	while (atomic_load(hold) && clock_now_ns() < until_ns)
		nanosleep(&pause, NULL);
}

int gate_close(struct ibv_pd *pd, int64_t deadline_ns, struct gate **ret)
{
	(void)deadline_ns;
	if (pd == &pds[0])
		wait_while(&hold_closing);
	atomic_fetch_add(&closed, 1);
	*ret = (struct gate *)pd;
	return 0;
}

int gate_drain(struct gate *gate, int64_t deadline_ns,
	       void (*each)(void *arg, uint32_t qp_num, enum gate_left why),
	       void *arg)
{
	int count = atomic_load(&left);

	if (gate == (struct gate *)&pds[0])
		wait_while(&hold_draining);
	/* else the machine may be too slow for it */
	if (regions[0].quiesce_ns == QUIESCE_NS && !atomic_load(&held))
		assert_true(deadline_ns > clock_now_ns());
	atomic_fetch_add(&drained, 1);
	for (int i = 0; i < count; i++)
		each(arg, (uint32_t)i, GATE_LEFT_LATE);
	return count;
}

int gate_sever(struct gate *gate, bool all)
{
	(void)gate;
	(void)all;
	atomic_fetch_add(&severed, 1);
	return 1;
}

unsigned int gate_disconnect(void)
{
	wait_while(&hold_disconnecting);
	atomic_fetch_add(&disconnected, 1);
	return 1;
}

void gate_open(struct gate *gate)
{
	(void)gate;
	atomic_fetch_add(&opened, 1);
}

const char *gate_left_name(enum gate_left why)
{
	(void)why;
	return "";
}

int pinned_promise(const struct pinned *pinned, uint32_t actual)
{
	(void)pinned;
	(void)actual;
	return 0;
}

void lease_news_consent(struct lease_listener *listener)
{
	(void)listener;
	atomic_fetch_add(&agreed, 1);
}

struct ibv_mr *pinned_make_mr(const struct pinned *pinned, size_t length)
{
	(void)pinned;
	(void)length;
	wait_while(&hold_making);
	errno = atomic_load(&refuse);
	if (errno) {
		atomic_fetch_add(&refused, 1);
		return NULL;
	}
	atomic_fetch_add(&back, 1);
	return calloc(1, sizeof(struct ibv_mr));
}

/*
 * Windows, one for each region that has any: what they are on. Those that take
 * no bind, and of these the ones that are on nothing.
 */
static struct ibv_mw windows[REGIONS];
static struct ibv_mr *_Atomic on[REGIONS];
static atomic_bool refuse_bind, refuse_clear, refuse_end;
static atomic_uint bound, cleared, ended, refused_bind;

static size_t index_of(const struct window_key *key)
{
	return (size_t)(key->mw - windows);
}

bool window_key_is_due(unsigned int access)
{
	return access & IBV_ACCESS_REMOTE_WRITE;
}

int window_key_check(const struct region_call *call, const char *policy)
{
	(void)call;
	(void)policy;
	return -EOPNOTSUPP;
}

int window_key_open(struct window_key *key, const struct region_call *call,
		    const char *policy)
{
	(void)key;
	return window_key_check(call, policy);
}

unsigned int window_mr_access(unsigned int access)
{
	return access;
}

int window_key_explain(int error, uint64_t length, const struct window_key *key,
		       const char *policy)
{
	(void)length;
	(void)key;
	(void)policy;
	return error;
}

int window_key_bind(struct window_key *key, struct ibv_mr *mr, uint64_t addr,
		    uint64_t length, int64_t until_ns)
{
	assert_int_equal(addr, ADDR);
	assert_int_equal(length, LENGTH);
	assert_true(until_ns > clock_now_ns());
	if (refuse_bind) {
		atomic_fetch_add(&refused_bind, 1);
		return reason_set(-EIO, "the test");
	}
	assert_null(on[index_of(key)]);
	on[index_of(key)] = mr;
	atomic_fetch_add(&bound, 1);
	return 0;
}

int window_key_clear(struct window_key *key, struct ibv_mr *mr, uint64_t addr,
		     int64_t until_ns)
{
	assert_non_null(mr);
	assert_int_equal(addr, ADDR);
	assert_true(until_ns > clock_now_ns());
	if (refuse_end)
		return reason_set(-EIO, "the test");
	on[index_of(key)] = NULL;
	if (refuse_clear)
		key->mw = NULL;
	atomic_fetch_add(&cleared, 1);
	return 0;
}

void window_key_close(struct window_key *key)
{
	key->mw = NULL;
	atomic_fetch_add(&ended, 1);
}

/* As the device does it where a window is on it. */
static bool has_window(const struct ibv_mr *mr)
{
	size_t i = 0;

	while (i < REGIONS && on[i] != mr)
		i++;
	return i < REGIONS;
}

static int dereg_mr(struct ibv_mr *mr)
{
	if (has_window(mr)) {
		atomic_fetch_add(&refused_dereg, 1);
		return EINVAL;
	}
	if (atomic_load(&keep)) {
		atomic_fetch_add(&refused_dereg, 1);
		return EBUSY;
	}
	free(mr);
	atomic_fetch_add(&gone, 1);
	return 0;
}

static const struct real_verbs verbs = {.dereg_mr = dereg_mr};

int pinned_still_there(const struct pinned *pinned, size_t *ret)
{
	*ret = pinned->length;
	return 0;
}

size_t pinned_surviving(const struct pinned *pinned)
{
	return pinned->length;
}

void pinned_show(struct pinned *pinned)
{
	(void)pinned;
}

void pinned_tell(struct pinned *pinned, enum pinned_news news, uint64_t blocks,
		 int error)
{
	(void)pinned;
	(void)blocks;
	if (news == PINNED_SEVERED) {
		atomic_store(&why_severed, error);
		/* Who has the file then knows nothing that we do not. */
		if (error == -ETIMEDOUT)
			assert_true(atomic_load(&agreed) < REGIONS);
	}
	atomic_fetch_add(&told[news], 1);
}

void pinned_forget_all(void)
{
	pinned_all = NULL;
}

/* Regions of which the file is ours, the first half in one PD. */
static int setup(void **state)
{
	(void)state;
	closed = drained = opened = severed = gone = back = agreed = 0;
	left = refuse = 0;
	refused = refused_dereg = logged_late = held = 0;
	hold_making = hold_closing = false;
	hold_disconnecting = hold_draining = false;
	disconnected = 0;
	for (size_t i = 0; i <= PINNED_SEVERED; i++)
		told[i] = 0;
	keep = false;
	refuse_bind = refuse_clear = refuse_end = false;
	bound = cleared = ended = refused_bind = 0;
	for (size_t i = 0; i < REGIONS; i++)
		on[i] = NULL;
	pthread_mutex_lock(&pinned_lock);
	memset(regions, 0, sizeof(regions));
	for (size_t i = 0; i < REGIONS; i++) {
		regions[i].real = &verbs;
		regions[i].context = &context;
		regions[i].pd = &pds[i >= REGIONS / 2];
		regions[i].length = regions[i].registered = LENGTH;
		regions[i].iova = ADDR;
		regions[i].quiesce_ns = QUIESCE_NS;
		regions[i].file.dev = DEV;
		regions[i].file.ino = INO;
		regions[i].is_held = true;
		regions[i].mr = calloc(1, sizeof(struct ibv_mr));
		regions[i].next = i + 1 < REGIONS ? &regions[i + 1] : NULL;
	}
	pinned_all = regions;
	pthread_mutex_unlock(&pinned_lock);
	return pinned_start();
}

static int teardown(void **state)
{
	(void)state;
	pthread_mutex_lock(&pinned_lock);
	pinned_all = NULL;
	pthread_mutex_unlock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		pinned_begin(&regions[i]);
	for (size_t i = 0; i < REGIONS; i++)
		free(regions[i].mr);
	return 0;
}

static void wait_for(const atomic_uint *count, unsigned int least)
{
	int64_t until_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;
	const struct timespec pause = {0, 1000000};

	while (atomic_load(count) < least) {
		assert_true(clock_now_ns() < until_ns);
		nanosleep(&pause, NULL);
	}
}

/* Nobody is at work on any of them any more. */
static void wait_for_all(void)
{
	for (size_t i = 0; i < REGIONS; i++)
		pinned_begin(&regions[i]);
	for (size_t i = 0; i < REGIONS; i++)
		pinned_end(&regions[i]);
}

/* As the engine's thread does, one after another. */
static void ask_all(void)
{
	int64_t deadline_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;

	for (size_t i = 0; i < REGIONS; i++)
		pinned_hear_asked(&regions[i].listener, deadline_ns);
}

static void hear_all(enum recall_state to, enum recall_cause cause)
{
	const struct recall_report report = {.to = to, .cause = cause};

	for (size_t i = 0; i < REGIONS; i++)
		pinned_hear(&regions[i].listener, &report, 0);
}

static void recall__one_gate_and_one_drain_for_each_pd(void **state)
{
	(void)state;
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(closed, 2);
	assert_int_equal(drained, 2);
	assert_int_equal(opened, 0);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	wait_for_all();
	assert_int_equal(closed, 2);
	assert_int_equal(opened, 2);
	assert_int_equal(severed, 0);
	assert_int_equal(told[PINNED_BACK], REGIONS);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(logged_late, 0);
}

/* As by a program that is stopped, and goes on. */
static void recall__others_had_it_before_the_mr_went(void **state)
{
	(void)state;
	keep = true;
	ask_all();
	wait_for(&refused_dereg, 1);
	hear_all(RECALL_YIELDED, RECALL_OUT_OF_TIME);
	assert_int_equal(gone, 0);
	keep = false;
	wait_for(&gone, REGIONS);
	wait_for(&logged_late, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* Each has a window, which is on its MR. */
static void give_windows(void)
{
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++) {
		regions[i].keys = KEYS_WINDOW;
		regions[i].access = IBV_ACCESS_REMOTE_WRITE;
		regions[i].key.mw = &windows[i];
		on[i] = regions[i].mr;
	}
	pthread_mutex_unlock(&pinned_lock);
}

static void window__is_on_nothing_while_others_have_it(void **state)
{
	(void)state;
	give_windows();
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(refused_dereg, 0);
	for (size_t i = 0; i < REGIONS; i++)
		assert_null(on[i]);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for_all();
	for (size_t i = 0; i < REGIONS; i++) {
		assert_non_null(regions[i].mr);
		assert_ptr_equal(on[i], regions[i].mr);
		assert_ptr_equal(regions[i].key.mw, &windows[i]);
	}
	assert_int_equal(bound, REGIONS);
	assert_int_equal(severed, 0);
	assert_int_equal(ended, 0);
	assert_int_equal(told[PINNED_SEVERED], 0);
}

/* Its key goes with it: who was told it has nothing to hope for. */
static void window__that_cannot_be_on_nothing_goes(void **state)
{
	(void)state;
	give_windows();
	refuse_clear = true;
	ask_all();
	wait_for(&agreed, REGIONS);
	wait_for(&told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ENOKEY);
	assert_int_equal(ended, REGIONS);
	assert_int_equal(refused_dereg, 0);
	assert_true(severed >= 2);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&told[PINNED_BACK], REGIONS);
	wait_for_all();
	assert_int_equal(bound, 0);
	for (size_t i = 0; i < REGIONS; i++)
		assert_false(pinned_has_window(&regions[i]));
}

/* Not even that: the MR cannot go, and it is tried again. */
static void window__that_does_not_go_is_tried_again(void **state)
{
	(void)state;
	give_windows();
	refuse_end = true;
	ask_all();
	wait_for(&refused_dereg, 2 * REGIONS);
	assert_int_equal(gone, 0);
	assert_int_equal(agreed, 0);
	refuse_end = false;
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&bound, REGIONS);
	wait_for_all();
	assert_int_equal(ended, 0);
}

static void window__not_bound_again_at_first(void **state)
{
	unsigned int made;

	(void)state;
	give_windows();
	refuse_bind = true;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&refused_bind, 2 * REGIONS);
	assert_int_equal(told[PINNED_BACK], 0);
	refuse_bind = false;
	wait_for(&told[PINNED_BACK], REGIONS);
	wait_for_all();
	made = back;
	/* those that no window was bound to are gone */
	assert_int_equal(gone, made);
	for (size_t i = 0; i < REGIONS; i++)
		assert_ptr_equal(on[i], regions[i].mr);
	assert_int_equal(ended, 0);
	assert_int_equal(severed, 0);
}

/* Nobody knows where it is then, so it goes, and the region has another key. */
static void window__not_bound_again_at_all(void **state)
{
	(void)state;
	give_windows();
	ask_all();
	wait_for(&agreed, REGIONS);
	refuse_bind = refuse_clear = true;
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&told[PINNED_BACK], REGIONS);
	wait_for_all();
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ENOKEY);
	assert_int_equal(refused_bind, REGIONS);
	assert_int_equal(ended, REGIONS);
	assert_true(severed >= REGIONS);
	for (size_t i = 0; i < REGIONS; i++)
		assert_false(pinned_has_window(&regions[i]));
}

/* Nothing is drained, no post waits. */
static void recall__peers_are_cut_off_at_once(void **state)
{
	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	ask_all();
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(drained, 0);
	assert_int_equal(opened, closed);
	assert_in_range(severed, 2, closed);
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* All at once; the second PD's regions have less time. */
static void recall__who_has_little_time_does_not_wait_for_others(void **state)
{
	int64_t now_ns = clock_now_ns();

	(void)state;
	hold_draining = true;
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++) {
		if (i >= REGIONS / 2)
			regions[i].quiesce_ns = QUIESCE_NS / 2;
		regions[i].is_held = false;
		regions[i].is_asked = true;
		regions[i].leave_ns = now_ns;
		regions[i].deadline_ns = now_ns + regions[i].quiesce_ns;
	}
	pthread_cond_broadcast(&pinned_changed);
	pthread_mutex_unlock(&pinned_lock);
	wait_for(&agreed, REGIONS / 2);
	wait_for(&held, 1);
	for (size_t i = REGIONS / 2; i < REGIONS; i++)
		assert_null(regions[i].mr);
	hold_draining = false;
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 2);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

static atomic_uint asked;
static int64_t asked_until_ns;

static void hear_ask(struct pinned_ear *ear, int64_t deadline_ns)
{
	(void)ear;
	asked_until_ns = deadline_ns;
	atomic_fetch_add(&asked, 1);
}

static void let_the_program_be_asked(int64_t quiesce_ns)
{
	static struct pinned_ear ear = {.ask = hear_ask};

	asked = 0;
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++) {
		regions[i].on_recall = ON_RECALL_ASK;
		regions[i].quiesce_ns = quiesce_ns;
		regions[i].ear = &ear;
	}
	pthread_mutex_unlock(&pinned_lock);
}

/* It is the one who stops its work: until it has, nothing happens. */
static void recall__goes_when_the_program_agrees(void **state)
{
	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	assert_int_equal(asked, REGIONS);
	for (size_t i = 1; i < REGIONS; i++)
		pinned_agreed(&regions[i]);
	wait_for(&agreed, REGIONS - 1);
	wait_for_all();
	assert_non_null(regions[0].mr);
	assert_int_equal(gone, REGIONS - 1);
	pinned_agreed(&regions[0]);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	hear_all(RECALL_YIELDED, RECALL_FLUSHED);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(told[PINNED_BACK], REGIONS);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(closed, 0);
	assert_int_equal(severed, 0);
}

/* Nobody waits for it any longer. */
static void recall__goes_without_the_program_in_time(void **state)
{
	int64_t before_ns = clock_now_ns();

	(void)state;
	let_the_program_be_asked(100000000);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	assert_int_equal(asked, REGIONS);
	wait_for(&gone, REGIONS);
	assert_true(clock_now_ns() >= asked_until_ns);
	assert_in_range(asked_until_ns - before_ns, 75000000, INT64_MAX);
	wait_for(&agreed, REGIONS);
	wait_for_all();
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ETIMEDOUT);
	pinned_agreed(&regions[0]); /* too late */
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	assert_int_equal(closed, 0);
}

/* As of a keeper that has not asked, or has not waited. */
static void recall__others_have_it_before_the_program_agrees(void **state)
{
	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	hear_all(RECALL_BREAKING, RECALL_BREAK_HEARD);
	ask_all();
	hear_all(RECALL_YIELDED, RECALL_OUT_OF_TIME);
	wait_for(&gone, REGIONS);
	wait_for_all();
	assert_int_equal(why_severed, -ETIMEDOUT);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* What it has asked for itself it has stopped its work for. */
static void own_call__asks_nobody(void **state)
{
	struct pinned_own own;

	(void)state;
	let_the_program_be_asked(QUIESCE_NS);
	pinned_own_begin(&own, DEV, INO);
	assert_int_equal(gone, REGIONS);
	pinned_own_end(&own);
	wait_for(&back, REGIONS);
	assert_int_equal(asked, 0);
	assert_int_equal(told[PINNED_SEVERED], 0);
	assert_int_equal(closed, 0);
}

/* What librdmacm does for that may take its time. */
static void recall__peers_are_told_and_nobody_waits_for_that(void **state)
{
	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	hold_disconnecting = true;
	ask_all();
	wait_for(&held, 1);
	wait_for(&agreed, REGIONS);
	hold_disconnecting = false;
	wait_for(&disconnected, 1);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
}

/* Nobody else wants the file. */
static void own_call__cuts_nobody_off(void **state)
{
	struct pinned_own own;

	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].on_recall = ON_RECALL_SEVER;
	pinned_own_begin(&own, DEV, INO);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(drained, 2);
	pinned_own_end(&own);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	assert_int_equal(severed, 0);
}

static void recall__what_is_not_drained_is_severed_once(void **state)
{
	(void)state;
	left = 30;
	ask_all();
	wait_for(&agreed, REGIONS);
	assert_int_equal(drained, 2);
	assert_int_equal(severed, 2);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&opened, 2);
}

/* It cannot be registered for a while: posts wait, and find it. */
static void back__is_tried_until_it_can_be(void **state)
{
	(void)state;
	refuse = ENOMEM;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&refused, 3 * REGIONS);
	assert_int_equal(opened, 0);
	assert_int_equal(back, 0);
	refuse = 0;
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	assert_int_equal(severed, 0);
}

static void back__that_takes_too_long_severs(void **state)
{
	(void)state;
	for (size_t i = 0; i < REGIONS; i++)
		regions[i].quiesce_ns = 50000000;
	refuse = ENOMEM;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&severed, REGIONS);
	wait_for(&opened, 2);
	/* and is tried still */
	refuse = 0;
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(severed, REGIONS);
	assert_int_equal(told[PINNED_SEVERED], REGIONS);
	assert_int_equal(why_severed, -ENOMEM);
	assert_int_equal(opened, closed);
}

/* What comes next is not spoilt by what came before. */
static void back__recall_while_it_is_tried(void **state)
{
	(void)state;
	refuse = ENOMEM;
	ask_all();
	wait_for(&agreed, REGIONS);
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&refused, 2 * REGIONS);
	ask_all();
	wait_for(&agreed, 2 * REGIONS);
	refuse = 0;
	hear_all(RECALL_HELD, RECALL_RETAKEN);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	assert_int_equal(closed, 2);
	assert_int_equal(severed, 0);
}

/* The second half of the regions is another file's, and has another PD. */
static void have_two_files(int64_t quiesce_ns)
{
	pthread_mutex_lock(&pinned_lock);
	for (size_t i = 0; i < REGIONS; i++)
		if (i < REGIONS / 2)
			regions[i].quiesce_ns = quiesce_ns;
		else
			regions[i].file.ino = INO + 1;
	pthread_mutex_unlock(&pinned_lock);
}

static void ask_some(size_t first, size_t end)
{
	int64_t deadline_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;

	for (size_t i = first; i < end; i++)
		pinned_hear_asked(&regions[i].listener, deadline_ns);
}

static void hear_some(size_t first, size_t end)
{
	const struct recall_report report = {.to = RECALL_HELD,
					     .cause = RECALL_RETAKEN};

	for (size_t i = first; i < end; i++)
		pinned_hear(&regions[i].listener, &report, 0);
}

/* As of a large one. */
static void back__that_takes_long_holds_up_no_other_file(void **state)
{
	(void)state;
	have_two_files(QUIESCE_NS);
	ask_some(0, REGIONS / 2);
	wait_for(&agreed, REGIONS / 2);
	hold_making = true;
	hear_some(0, REGIONS / 2);
	wait_for(&held, 1);
	ask_some(REGIONS / 2, REGIONS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(back, 0);
	hold_making = false;
	hear_some(REGIONS / 2, REGIONS);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(opened, closed);
	assert_int_equal(severed, 0);
}

/* Its gate has opened meanwhile, and a post does not end. */
static void back__that_waits_for_a_post_holds_up_no_other_file(void **state)
{
	(void)state;
	have_two_files(50000000);
	ask_some(0, REGIONS / 2);
	wait_for(&agreed, REGIONS / 2);
	wait_for(&opened, 1);
	hold_closing = true;
	hear_some(0, REGIONS / 2);
	wait_for(&held, 1);
	ask_some(REGIONS / 2, REGIONS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	assert_int_equal(opened, 1);
	hold_closing = false;
	hear_some(REGIONS / 2, REGIONS);
	wait_for(&back, REGIONS);
	wait_for_all();
	assert_int_equal(opened, closed);
}

/* Nor does severing what could not come back. */
static void back__that_severs_holds_up_no_other_file(void **state)
{
	(void)state;
	have_two_files(50000000);
	ask_some(0, REGIONS / 2);
	wait_for(&agreed, REGIONS / 2);
	wait_for(&opened, 1);
	refuse = ENOMEM;
	hold_closing = true;
	hear_some(0, REGIONS / 2);
	wait_for(&held, 1);
	assert_int_equal(severed, 0);
	ask_some(REGIONS / 2, REGIONS);
	wait_for(&agreed, REGIONS);
	assert_int_equal(gone, REGIONS);
	refuse = 0;
	hold_closing = false;
	hear_some(REGIONS / 2, REGIONS);
	wait_for(&back, REGIONS);
}

static void own_call__all_go_before_and_come_back_after_the_last(void **state)
{
	struct pinned_own first, second, other;

	(void)state;
	pinned_own_begin(&other, DEV, INO + 1);
	assert_int_equal(gone, 0);
	pinned_own_begin(&first, DEV, INO);
	assert_int_equal(gone, REGIONS);
	pinned_own_begin(&second, DEV, INO);
	pinned_own_end(&first);
	/* the thread has had its turn: the gate is not left for good */
	wait_for_all();
	assert_int_equal(back, 0);
	assert_int_equal(opened, 0);
	pinned_own_end(&second);
	wait_for(&back, REGIONS);
	wait_for(&opened, 2);
	pinned_own_end(&other);
	assert_int_equal(drained, 2);
}

/* How many were gone when it had begun. */
static void *begin_and_end(void *arg)
{
	unsigned int *ret = arg;
	struct pinned_own own;

	pinned_own_begin(&own, DEV, INO);
	*ret = atomic_load(&gone);
	pinned_own_end(&own);
	return NULL;
}

static void own_call__waits_for_an_mr_that_does_not_go(void **state)
{
	unsigned int were_gone = 0;
	pthread_t thread;

	(void)state;
	keep = true;
	assert_int_equal(
		pthread_create(&thread, NULL, begin_and_end, &were_gone), 0);
	wait_for(&refused_dereg, 1);
	keep = false;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(were_gone, REGIONS);
	wait_for(&back, REGIONS);
}

/* Registered while such a call is under way: it waits, and is not waited for.
 */
static void own_call__region_that_comes_meanwhile(void **state)
{
	struct pinned_own first, second;
	struct pinned *late = &regions[0];
	bool is_there;

	(void)state;
	pthread_mutex_lock(&pinned_lock);
	pinned_all = late->next;
	pthread_mutex_unlock(&pinned_lock);
	pinned_own_begin(&first, DEV, INO);
	assert_int_equal(gone, REGIONS - 1);

	pthread_mutex_lock(&pinned_lock);
	free(late->mr);
	late->mr = NULL;
	late->is_busy = late->is_entering = true;
	pinned_all = late;
	is_there = pinned_own_is_there_locked(late);
	pthread_mutex_unlock(&pinned_lock);
	assert_true(is_there);
	pinned_own_begin(&second, DEV, INO);
	pinned_own_end(&first);
	pthread_mutex_lock(&pinned_lock);
	is_there = pinned_own_is_there_locked(late);
	pthread_mutex_unlock(&pinned_lock);
	assert_true(is_there);
	pinned_own_end(&second);
	pthread_mutex_lock(&pinned_lock);
	is_there = pinned_own_is_there_locked(late);
	late->is_entering = false;
	pthread_mutex_unlock(&pinned_lock);
	assert_false(is_there);
	pinned_end(late);
	wait_for(&back, REGIONS);
}

static atomic_uint handled;

static void handle(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static bool is_watching_forks;
static unsigned int handled_before_fork;

/* Registered before the lock's own, so run after it. */
static void raise_before_fork(void)
{
	if (!is_watching_forks)
		return;
	raise(SIGUSR1);
	handled_before_fork = atomic_load(&handled);
}

/* Its handler may open a file, and would wait for who has the lock. */
static void signal__is_handled_when_the_lock_is_given(void **state)
{
	const struct sigaction action = {.sa_handler = handle};
	struct pinned_locked locked;
	struct sigaction before;

	(void)state;
	handled = 0;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	pinned_lock_take(&locked);
	raise(SIGUSR1);
	assert_int_equal(handled, 0);
	pinned_lock_give(&locked);
	assert_int_equal(handled, 1);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void signal__is_handled_when_a_fork_is_over(void **state)
{
	const struct sigaction action = {.sa_handler = handle};
	struct sigaction before;
	sigset_t mask;
	int status;
	pid_t pid;

	(void)state;
	handled = 0;
	is_watching_forks = true;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	pid = fork();
	if (pid == 0) {
		pthread_sigmask(SIG_SETMASK, NULL, &mask);
		_exit(sigismember(&mask, SIGUSR1));
	}
	is_watching_forks = false;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(handled_before_fork, 0);
	assert_int_equal(handled, 1);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

static void own_call__none_where_regions_are_not_wanted(void **state)
{
	struct pinned_own own;

	(void)state;
	assert_false(pinned_own_try(&own, DEV, INO));
	assert_true(pinned_own_try(&own, DEV, INO + 1));
	pinned_own_end(&own);
	assert_int_equal(gone, 0);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(recall__one_gate_and_one_drain_for_each_pd),
		CASE(recall__others_had_it_before_the_mr_went),
		CASE(window__is_on_nothing_while_others_have_it),
		CASE(window__that_cannot_be_on_nothing_goes),
		CASE(window__that_does_not_go_is_tried_again),
		CASE(window__not_bound_again_at_first),
		CASE(window__not_bound_again_at_all),
		CASE(recall__peers_are_cut_off_at_once),
		CASE(recall__goes_when_the_program_agrees),
		CASE(recall__goes_without_the_program_in_time),
		CASE(recall__others_have_it_before_the_program_agrees),
		CASE(own_call__asks_nobody),
		CASE(recall__who_has_little_time_does_not_wait_for_others),
		CASE(recall__peers_are_told_and_nobody_waits_for_that),
		CASE(recall__what_is_not_drained_is_severed_once),
		CASE(back__is_tried_until_it_can_be),
		CASE(back__that_takes_too_long_severs),
		CASE(back__recall_while_it_is_tried),
		CASE(back__that_takes_long_holds_up_no_other_file),
		CASE(back__that_waits_for_a_post_holds_up_no_other_file),
		CASE(back__that_severs_holds_up_no_other_file),
		CASE(own_call__all_go_before_and_come_back_after_the_last),
		CASE(own_call__cuts_nobody_off),
		CASE(own_call__waits_for_an_mr_that_does_not_go),
		CASE(own_call__region_that_comes_meanwhile),
		CASE(own_call__none_where_regions_are_not_wanted),
		CASE(signal__is_handled_when_the_lock_is_given),
		CASE(signal__is_handled_when_a_fork_is_over),
	};

	pthread_atfork(raise_before_fork, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
