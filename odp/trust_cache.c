/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One test for all who ask: the verdicts of this process.
 *
 * A table with a slot per device:
 *
 *	free --> testing --> known
 *	            ^----------'   another instance of the device, or a
 *	                           verdict that has gone stale
 *
 * One mutex protects it all, and is never held across a verbs call or a file:
 * who finds a slot free marks it "testing", lets go, and tests; who finds it
 * so marked waits on the condition.
 *
 * Fork. The table lies in memory that is wiped in a child (MADV_WIPEONFORK).
 * A child so starts with zeroes, which are an open mutex and a free table
 * (PTHREAD_MUTEX_INITIALIZER and PTHREAD_COND_INITIALIZER are all zeroes in
 * glibc and musl), whatever threads of its parent were at when it was
 * forked: no lock is held by a thread that isn't there, no slot is being
 * tested by nobody, and nothing has to run at the fork. The child reads the
 * file, or tests for itself. Where there is no such memory (kernels
 *before 4.14) nothing is remembered in the process.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trust.h"
#include "trust_file.h"
#include "trust_id.h"
#include "trust_loop.h"
#include "trust_mem.h"
#include "trust_thread.h"

/* More devices than this are tested each time they are asked for. */
#define SLOTS 32

/*
 * How much longer than the test took a verdict is believed that is none, or of
 * a device that may have been replaced without our seeing it.
 */
#define STALE_FACTOR 10

/* Of a device that sysfs does not show. */
static const struct device_instance no_instance;

enum slot_state {
	SLOT_FREE,
	SLOT_TESTING,
	SLOT_KNOWN,
};

struct slot {
	char name[IBV_SYSFS_NAME_MAX];
	enum slot_state state;
	struct device_instance instance;
	uint64_t stale_ns; /* when to ask again; 0: not */
	struct odp_trust trust;
};

struct table {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct slot slot[SLOTS];
};

static struct table *_Atomic shared_table;

static struct table *new_table(void)
{
	struct table *table = memory_map(sizeof(*table));

	if (table &&
	    syscall(SYS_madvise, table, sizeof(*table), MADV_WIPEONFORK)) {
		memory_unmap(table, sizeof(*table));
		return NULL;
	}
	return table;
}

static struct table *get_table(void)
{
	struct table *table = atomic_load(&shared_table);
	struct table *made;

	if (table)
		return table;
	made = new_table();
	if (made &&
	    !atomic_compare_exchange_strong(&shared_table, &table, made)) {
		memory_unmap(made, sizeof(*made));
		made = table; /* another thread was faster */
	}
	return made;
}

/* The device's slot, or a free one made its own; NULL where all are taken. */
static struct slot *find_slot_locked(struct table *table, const char *name)
{
	struct slot *unused = NULL;

	for (int i = 0; i < SLOTS; i++) {
		struct slot *slot = &table->slot[i];

		if (!strcmp(slot->name, name))
			return slot;
		if (!unused && slot->state == SLOT_FREE && !slot->name[0])
			unused = slot;
	}
	if (unused) {
		size_t length = strnlen(name, sizeof(unused->name) - 1);

		memcpy(unused->name, name, length);
	}
	return unused;
}

static bool is_fresh_locked(const struct slot *slot,
			    const struct device_instance *instance)
{
	return slot->state == SLOT_KNOWN &&
	       device_instance_same(&slot->instance, instance) &&
	       (!slot->stale_ns || loop_now_ns() < slot->stale_ns);
}

/* What a device was before a test, and after it. Too big for small stacks. */
struct identities {
	char before[DEVICE_IDENTITY_MAX];
	char after[DEVICE_IDENTITY_MAX];
};

/* From the file, or by a test whose verdict then goes to the file. */
static void find_out(const struct verbs_table *verbs, struct ibv_device *device,
		     struct odp_trust *ret)
{
	struct identities *id = memory_map(sizeof(*id));
	bool known =
		id && device_identity(device, id->before, sizeof(id->before));

	if (!known || !trust_file_load(device->name, id->before, ret)) {
		odp_trust_test(verbs, device, ret);
		/* Had the driver changed meanwhile: which one was tested? */
		if (known && ret->verdict != ODP_NO_VERDICT &&
		    device_identity(device, id->after, sizeof(id->after)) &&
		    !strcmp(id->before, id->after))
			trust_file_store(device->name, id->before, ret);
	}
	memory_unmap(id, sizeof(*id));
}

static void find_out_for(struct table *table, struct slot *slot,
			 const struct verbs_table *verbs,
			 struct ibv_device *device,
			 const struct device_instance *instance,
			 struct odp_trust *ret)
{
	uint64_t stale_ns = 0;

	find_out(verbs, device, ret);
	if (ret->verdict == ODP_NO_VERDICT ||
	    device_instance_same(instance, &no_instance))
		stale_ns = loop_now_ns() +
			   (uint64_t)STALE_FACTOR * 1000 * ret->time_us;

	pthread_mutex_lock(&table->lock);
	slot->state = SLOT_KNOWN;
	/* As it was before the test: a later one doesn't match, and is tested.
	 */
	slot->instance = *instance;
	slot->stale_ns = stale_ns;
	slot->trust = *ret;
	pthread_cond_broadcast(&table->changed);
	pthread_mutex_unlock(&table->lock);
}

static void get_from_table(struct table *table, const struct verbs_table *verbs,
			   struct ibv_device *device, struct odp_trust *ret)
{
	struct device_instance instance;
	struct slot *slot;

	pthread_mutex_lock(&table->lock);
	slot = find_slot_locked(table, device->name);
	while (slot && slot->state == SLOT_TESTING)
		pthread_cond_wait(&table->changed, &table->lock);
	if (!slot) {
		pthread_mutex_unlock(&table->lock);
		find_out(verbs, device, ret);
		return;
	}
	/* Looked up after the wait: it is about the device as it is now. */
	if (!device_instance_get(device, &instance))
		instance = no_instance;
	if (is_fresh_locked(slot, &instance)) {
		*ret = slot->trust;
		ret->from_cache = true;
		pthread_mutex_unlock(&table->lock);
		return;
	}
	slot->state = SLOT_TESTING;
	pthread_mutex_unlock(&table->lock);
	find_out_for(table, slot, verbs, device, &instance, ret);
}

void odp_trust_get(const struct verbs_table *verbs, struct ibv_device *device,
		   struct odp_trust *ret)
{
	int saved_errno = errno;
	struct table *table;
	int cancel;

	/* A provider that registers by way of our hooks would wait for itself.
	 */
	if (thread_is_ours()) {
		*ret = (struct odp_trust){
			.verdict = ODP_NO_VERDICT,
			.seen = "asked by the test itself",
		};
		return;
	}
	table = get_table();
	/* A thread that ended in the middle would leave others waiting. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	if (table)
		get_from_table(table, verbs, device, ret);
	else
		find_out(verbs, device, ret);
	pthread_setcancelstate(cancel, NULL);
	errno = saved_errno;
}
