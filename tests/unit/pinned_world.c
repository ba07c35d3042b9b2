/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "gate/gate_cm.h"
#include "gate/gate_keys.h"
#include "gate/gate_window.h"
#include "log.h"
#include "pinned_world.h"
#include "reason.h"
#include "unit.h"
#include "window/window_parts.h"
#include "window/window_test.h"

static struct ibv_device device = {.name = "none0"};
static struct ibv_context context = {.device = &device};
struct ibv_pd pds[2] = {{.context = &context}, {.context = &context}};
struct pinned regions[REGIONS];
static union pinned_seen seens[REGIONS];

atomic_uint closed, drained, opened, severed, gone, back, agreed;
atomic_int left, refuse;
atomic_uint refused, refused_dereg;
atomic_int why_severed;
atomic_uint logged_late;
atomic_uint told[PINNED_SEVERED + 1];
atomic_bool keep;
atomic_bool hold_making, hold_closing, hold_disconnecting, hold_draining;
atomic_uint disconnected;
atomic_uint held, turns;
static atomic_bool is_draining;

void log_try_write(enum log_level level, const char *format, ...)
{
	(void)level;
	if (strstr(format, "while its MR was still there"))
		atomic_fetch_add(&logged_late, 1);
}

void log_write(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
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

/* As a drain does whose work is not done: what is urgent is done meanwhile. */
static void go_on_while(const atomic_bool *hold, void (*meanwhile)(void *arg),
			void *arg)
{
	int64_t until_ns = clock_now_ns() + 2 * WAIT_SEC * 1000000000LL;
	const struct timespec pause = {0, 1000000};

	if (!atomic_load(hold))
		return;
	atomic_fetch_add(&held, 1);
	while (atomic_load(hold) && clock_now_ns() < until_ns) {
		meanwhile(arg);
		atomic_fetch_add(&turns, 1);
		nanosleep(&pause, NULL);
	}
}

int gate_drain(struct gate *gate, int64_t deadline_ns,
	       void (*each)(void *arg, uint32_t qp_num, enum gate_left why),
	       void (*meanwhile)(void *arg), void *arg)
{
	int count = atomic_load(&left);

	/* The first of it: another of the same gate may come in between. */
	if (gate == (struct gate *)&pds[0] && !atomic_exchange(&is_draining, 1))
		go_on_while(&hold_draining, meanwhile, arg);
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

int gate_key_promise(struct ibv_context *of, uint32_t promised, uint32_t actual)
{
	(void)of;
	(void)promised;
	(void)actual;
	return 0;
}

struct ibv_mw own_mws[OWNERS];
struct gate_window own_windows[OWNERS];
size_t owners;
bool refuses_binds, unbinds_late;
static unsigned int binder; /* its number; each dies at most once */
static bool is_binder_dead; /* the last */
_Atomic uint64_t own_bounds[OWNERS];
atomic_uint replaced, binds;

/* OWNERS: of none that may have a window. */
static size_t owner_of(const struct ibv_mr *seen)
{
	size_t i = 0;

	while (i < OWNERS && seen != &regions[i].seen->mr)
		i++;
	return i;
}

int gate_mr_promise(struct ibv_context *of, const struct ibv_mr *seen,
		    struct ibv_mr *actual, bool is_bindable)
{
	(void)of;
	(void)seen;
	(void)actual;
	(void)is_bindable;
	return 0;
}

void gate_mr_forget(struct ibv_context *of, const struct ibv_mr *seen)
{
	(void)of;
	(void)seen;
}

struct gate_window *gate_window_next(const struct ibv_mr *seen,
				     enum gate_window_state state,
				     struct gate_window *after)
{
	size_t i = owner_of(seen);
	bool is_it = i < owners && !after && own_windows[i].state == state &&
		     !own_windows[i].is_over;

	if (after)
		after->uses--;
	if (is_it)
		own_windows[i].uses++;
	return is_it ? &own_windows[i] : NULL;
}

void gate_window_unuse(struct gate_window *of)
{
	of->uses--;
}

void gate_window_set(struct gate_window *of, enum gate_window_state state)
{
	of->state = state;
}

int gate_window_replace(struct gate_window *of, uint32_t *ret_rkey)
{
	of->is_over = true;
	of->mw->rkey++;
	*ret_rkey = of->mw->rkey;
	atomic_store(&own_bounds[of - own_windows], 0);
	atomic_fetch_add(&replaced, 1);
	return 0;
}

/* The program has freed it by then. */
void gate_windows_settle(const struct ibv_mr *seen)
{
	size_t i = owner_of(seen);

	if (i < OWNERS && i >= owners)
		atomic_store(&own_bounds[i], 0);
}

void gate_windows_gone(const struct ibv_mr *seen)
{
	size_t i = owner_of(seen);

	if (i < OWNERS && own_windows[i].state != GATE_WINDOW_OFF)
		own_windows[i].is_over = true;
}

struct window_pd *window_pd_get(const struct real_verbs *real,
				struct ibv_pd *pd)
{
	(void)real;
	assert_ptr_equal(pd, &pds[0]);
	binder += is_binder_dead || !binder;
	is_binder_dead = false;
	return (struct window_pd *)(uintptr_t)binder;
}

void window_pd_put(struct window_pd *of)
{
	(void)of;
}

bool window_pd_is_dead(const struct window_pd *of)
{
	return (uintptr_t)of < binder || is_binder_dead;
}

int window_pd_bind(struct window_pd *by, const struct ibv_mw *of,
		   const struct window_range *range, int64_t until_ns)
{
	size_t i = (size_t)(of - own_mws);

	assert_true(i < owners);
	assert_ptr_equal(range->mr, regions[i].mr);
	assert_true(until_ns > clock_now_ns());
	if (window_pd_is_dead(by))
		return -ETIMEDOUT;
	atomic_fetch_add(&binds, 1);
	is_binder_dead = refuses_binds || unbinds_late;
	if (!refuses_binds || (unbinds_late && !range->length))
		atomic_store(&own_bounds[i], range->length);
	return is_binder_dead ? -ETIMEDOUT : 0;
}

void window_verdict_get(const struct verbs_table *table, struct ibv_device *of,
			struct window_verdict *ret)
{
	(void)table;
	(void)of;
	memset(ret, 0, sizeof(*ret));
}

void lease_news_consent(struct lease_listener *listener)
{
	(void)listener;
	atomic_fetch_add(&agreed, 1);
}

/* `regions` is its threads', each for its own part: an MR knows whose it is. */
static struct ibv_mr *make_mr(const struct pinned *pinned)
{
	struct ibv_mr *mr = calloc(1, sizeof(*mr));

	mr->handle = (uint32_t)(pinned - regions);
	return mr;
}

struct ibv_mr *pinned_make_mr(const struct pinned *pinned, size_t length)
{
	struct ibv_mr *mr;

	wait_while(&hold_making);
	errno = atomic_load(&refuse);
	if (errno) {
		atomic_fetch_add(&refused, 1);
		return NULL;
	}
	atomic_fetch_add(&back, 1);
	mr = make_mr(pinned);
	mr->addr = pinned->addr;
	mr->length = length;
	return mr;
}

struct ibv_mw windows[REGIONS];
struct ibv_mr *_Atomic on[REGIONS];
atomic_bool refuse_bind, refuse_clear, refuse_end;
atomic_uint bound, cleared, ended, refused_bind;
unsigned int refuse_binds, bound_remote;
bool may_rebind;

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
	assert_true(length == LENGTH || (may_rebind && !length));
	assert_non_null(mr);
	assert_true(until_ns > clock_now_ns());
	if (refuse_bind || refuse_binds) {
		atomic_fetch_add(&refused_bind, 1);
		refuse_binds -= refuse_binds != 0;
		return reason_set(-EIO, "the test");
	}
	assert_true(may_rebind || !on[index_of(key)]);
	on[index_of(key)] = length ? mr : NULL;
	bound_remote = key->remote;
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
	if (key->mw)
		on[index_of(key)] = NULL;
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
	if (mr->handle < OWNERS && atomic_load(&own_bounds[mr->handle])) {
		atomic_fetch_add(&refused_dereg, 1);
		return EINVAL;
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
	pinned->seen->mr.rkey = pinned->key.mw ? pinned->key.rkey
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
	refused = refused_dereg = logged_late = held = turns = 0;
	hold_making = hold_closing = false;
	hold_disconnecting = hold_draining = is_draining = false;
	disconnected = 0;
	for (size_t i = 0; i <= PINNED_SEVERED; i++)
		told[i] = 0;
	keep = false;
	refuse_bind = refuse_clear = refuse_end = may_rebind = false;
	refuse_binds = 0;
	bound = cleared = ended = refused_bind = 0;
	for (size_t i = 0; i < REGIONS; i++)
		on[i] = NULL;
	owners = 0;
	refuses_binds = unbinds_late = is_binder_dead = false;
	memset(own_windows, 0, sizeof(own_windows));
	for (size_t i = 0; i < OWNERS; i++)
		own_bounds[i] = 0;
	replaced = binds = 0;
	pthread_mutex_lock(&pinned_lock);
	memset(regions, 0, sizeof(regions));
	memset(seens, 0, sizeof(seens));
	for (size_t i = 0; i < REGIONS; i++) {
		regions[i].seen = &seens[i];
		regions[i].real = &verbs;
		regions[i].context = &context;
		regions[i].pd = &pds[i >= REGIONS / 2];
		regions[i].length = regions[i].registered = LENGTH;
		regions[i].iova = ADDR;
		regions[i].quiesce_ns = QUIESCE_NS;
		regions[i].file.dev = DEV;
		regions[i].file.ino = INO;
		regions[i].is_held = true;
		regions[i].mr = make_mr(&regions[i]);
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

void ask_locked(size_t first, size_t end, int64_t quiesce_ns, int64_t left_ns)
{
	int64_t now_ns = clock_now_ns();

	for (size_t i = first; i < end; i += 2) {
		regions[i].quiesce_ns = quiesce_ns;
		regions[i].is_held = false;
		regions[i].is_asked = true;
		regions[i].leave_ns = now_ns;
		regions[i].deadline_ns = now_ns + left_ns;
	}
	pthread_cond_broadcast(&pinned_changed);
}

void ask_every_other(size_t first, int64_t quiesce_ns)
{
	pthread_mutex_lock(&pinned_lock);
	ask_locked(first, REGIONS, quiesce_ns, quiesce_ns);
	pthread_mutex_unlock(&pinned_lock);
}

void hear_all(enum recall_state to, enum recall_cause cause)
{
	const struct recall_report report = {.to = to, .cause = cause};

	for (size_t i = 0; i < REGIONS; i++)
		pinned_hear(&regions[i].listener, &report, 0);
}
