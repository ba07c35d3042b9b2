/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verdicts on devices' windows of this process. Threads that ask at once
 * may test at once.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "quiet.h"
#include "trust_id.h"
#include "window_test.h"

#define STALE_NS 1000000000LL

struct known {
	char name[IBV_SYSFS_NAME_MAX];
	struct device_instance instance;
	int64_t stale_ns; /* INT64_MAX: never */
	struct window_verdict verdict;
	struct known *next;
};

/* Held across fork, for memory alone. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known *all;

static sigset_t signals_before_fork;

static void before_fork(void)
{
	quiet_lock_over_fork(&lock, &signals_before_fork);
}

static void after_fork(void)
{
	quiet_unlock_after_fork(&lock, &signals_before_fork);
}

static void follow_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

static struct known *find_locked(const char *name)
{
	struct known *known = all;

	while (known && strcmp(known->name, name) != 0)
		known = known->next;
	return known;
}

static bool is_known(const char *name, const struct device_instance *instance,
		     struct window_verdict *ret)
{
	const struct known *known;
	sigset_t signals;
	bool is_fresh;

	quiet_lock(&lock, &signals);
	known = find_locked(name);
	is_fresh = known && device_instance_same(&known->instance, instance) &&
		   clock_now_ns() < known->stale_ns;
	if (is_fresh)
		*ret = known->verdict;
	quiet_unlock(&lock, &signals);
	return is_fresh;
}

static void remember(const char *name, const struct device_instance *instance,
		     const struct window_verdict *verdict)
{
	struct known *new = calloc(1, sizeof(*new)), *known;
	sigset_t signals;

	quiet_lock(&lock, &signals);
	known = find_locked(name);
	if (!known && new) {
		known = new;
		new = NULL;
		snprintf(known->name, sizeof(known->name), "%s", name);
		known->next = all;
		all = known;
	}
	if (known) {
		known->instance = *instance;
		known->verdict = *verdict;
		known->stale_ns = verdict->is_right ? INT64_MAX
						    : clock_now_ns() + STALE_NS;
	}
	quiet_unlock(&lock, &signals);
	free(new);
}

void window_verdict_get(const struct verbs_table *verbs,
			struct ibv_device *device, struct window_verdict *ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct device_instance instance = {0};
	int saved_errno = errno;
	bool is_shown;

	pthread_once(&once, follow_forks);
	/* Before the test: what comes after it is another one. */
	is_shown = device_instance_get(device, &instance);
	if (!is_shown || !is_known(device->name, &instance, ret)) {
		window_test(verbs, device, ret);
		if (is_shown)
			remember(device->name, &instance, ret);
	}
	errno = saved_errno;
}
