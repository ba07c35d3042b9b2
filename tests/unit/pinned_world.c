/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "gate/gate_cm.h"
#include "log.h"
#include "pinned_world.h"
#include "reason.h"
#include "unit.h"

static struct ibv_device device = {.name = "none0"};
static struct ibv_context context = {.device = &device};
static struct ibv_pd pds[2] = {{.context = &context}, {.context = &context}};
struct pinned regions[REGIONS];

atomic_uint closed, drained, opened, severed, gone, back, agreed;
atomic_int left, refuse;
atomic_uint refused, refused_dereg;
atomic_int why_severed;
atomic_uint logged_late;
atomic_uint told[PINNED_SEVERED + 1];
atomic_bool keep;
atomic_bool hold_making, hold_closing, hold_disconnecting, hold_draining;
atomic_uint disconnected;
atomic_uint held;

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

struct ibv_mw windows[REGIONS];
struct ibv_mr *_Atomic on[REGIONS];
atomic_bool refuse_bind, refuse_clear, refuse_end;
atomic_uint bound, cleared, ended, refused_bind;

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
	pinned->seen.mr.rkey = pinned->key.mw ? pinned->key.rkey
			       : pinned->mr   ? pinned->mr->rkey
					      : 0;
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
int world_begin(void **state)
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

int world_end(void **state)
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

void wait_for(const atomic_uint *count, unsigned int least)
{
	int64_t until_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;
	const struct timespec pause = {0, 1000000};

	while (atomic_load(count) < least) {
		assert_true(clock_now_ns() < until_ns);
		nanosleep(&pause, NULL);
	}
}

void wait_for_all(void)
{
	for (size_t i = 0; i < REGIONS; i++)
		pinned_begin(&regions[i]);
	for (size_t i = 0; i < REGIONS; i++)
		pinned_end(&regions[i]);
}

void ask_all(void)
{
	int64_t deadline_ns = clock_now_ns() + WAIT_SEC * 1000000000LL;

	for (size_t i = 0; i < REGIONS; i++)
		pinned_hear_asked(&regions[i].listener, deadline_ns);
}

void hear_all(enum recall_state to, enum recall_cause cause)
{
	const struct recall_report report = {.to = to, .cause = cause};

	for (size_t i = 0; i < REGIONS; i++)
		pinned_hear(&regions[i].listener, &report, 0);
}
