/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages of this process: stats.h.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "clock.h"
#include "quiet.h"
#include "raw.h"
#include "stats.h"

#define PAGES 256
#define WORD  64

_Static_assert(STATS_SLOTS == WORD, "a word has a bit for each slot");

/*
 * Protects which pages there are and which slots are taken; no other is taken
 * under it. Threads of ours take it: without signals (quiet.h). Not held across
 * fork: the child has no pages.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct stats_page *pages[PAGES];
static uint64_t regions_taken[PAGES], files_taken[PAGES];
static size_t page_count;
static pid_t owner; /* a child that came by a raw clone() has no pages either */
static bool cannot; /* a page could not be had: not tried again */

static void forget_locked(void)
{
	memset(pages, 0, sizeof(pages));
	memset(regions_taken, 0, sizeof(regions_taken));
	memset(files_taken, 0, sizeof(files_taken));
	page_count = 0;
	cannot = false;
	owner = getpid();
}

static void child_has_none(void)
{
	pthread_mutex_init(&lock, NULL);
	forget_locked();
}

static void follow_forks(void)
{
	owner = getpid();
	pthread_atfork(NULL, NULL, child_has_none);
}

/* Past who follows what is mapped (raw.h). */
static struct stats_page *make_page(void)
{
	long id = syscall(SYS_shmget, IPC_PRIVATE, sizeof(struct stats_page),
			  IPC_CREAT | SHM_NORESERVE | 0600);
	long addr;

	if (id < 0)
		return NULL;
	addr = syscall(SYS_shmat, id, NULL, 0);
	syscall(SYS_shmctl, id, IPC_RMID, NULL);
	if (addr == -1)
		return NULL;
	if (raw_keep_to_us((void *)addr, sizeof(struct stats_page))) {
		syscall(SYS_shmdt, addr);
		return NULL;
	}
	return (struct stats_page *)addr;
}

static struct stats_page *add_page_locked(void)
{
	struct stats_page *page;

	if (page_count == PAGES || cannot)
		return NULL;
	page = make_page();
	if (!page) {
		cannot = true;
		return NULL;
	}
	page->version = STATS_VERSION;
	page->since_ns = clock_now_ns();
	page->number = page_count;
	atomic_store_explicit(&page->magic, STATS_MAGIC, memory_order_release);
	pages[page_count++] = page;
	return page;
}

/* What was there before. */
struct before {
	int saved_errno;
	sigset_t signals;
};

/* The first, which has the counters. With the lock from here. */
static struct stats_page *begin(struct before *ret)
{
	ret->saved_errno = errno;
	pthread_once(&once, follow_forks);
	quiet_lock(&lock, &ret->signals);
	if (owner != getpid())
		forget_locked();
	return page_count ? pages[0] : add_page_locked();
}

static void end(const struct before *before)
{
	quiet_unlock(&lock, &before->signals);
	errno = before->saved_errno;
}

/* Of `taken`: its number in all pages, -1: no room. */
static long take_locked(uint64_t *taken)
{
	size_t i = 0;
	int bit;

	while (i < page_count && taken[i] == UINT64_MAX)
		i++;
	if (i == page_count && !add_page_locked())
		return -1;
	bit = __builtin_ctzll(~taken[i]);
	taken[i] |= 1ULL << bit;
	return (long)(i * STATS_SLOTS) + bit;
}

static void add_to(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static void write_region(long slot, const struct stats_region *region)
{
	struct stats_region_slot *to =
		&pages[slot / STATS_SLOTS]->region[slot % STATS_SLOTS];

	stats_slot_write(&to->sequence, to->word, region, STATS_WORDS(*region));
}

uint64_t stats_region_add(const struct stats_region *region)
{
	uint64_t number = 0;
	struct before before;
	struct stats_page *first = begin(&before);
	long slot = first ? take_locked(regions_taken) : -1;

	if (first && region->strategy < STRATEGIES)
		add_to(&first->registered[region->strategy], 1);
	if (slot >= 0) {
		write_region(slot, region);
		number = (uint64_t)owner << 32 | ((uint64_t)slot + 1);
	} else if (first) {
		add_to(&first->count[STATS_UNLISTED], 1);
	}
	end(&before);
	return number;
}

/* False: it is not listed, or was by a parent process. */
static bool is_listed(uint64_t number)
{
	return number && number >> 32 == (uint64_t)getpid();
}

/*
 * What is there of it, to be written again: nobody else does while the lock is
 * ours. Its slot; -1: there is none of it.
 */
static long read_region_locked(uint64_t number, struct stats_region *ret)
{
	size_t slot = (size_t)(number & UINT32_MAX) - 1;
	const struct stats_region_slot *at;

	if (slot >= page_count * STATS_SLOTS)
		return -1;
	at = &pages[slot / STATS_SLOTS]->region[slot % STATS_SLOTS];
	stats_slot_read(&at->sequence, at->word, ret, STATS_WORDS(*ret));
	return (long)slot;
}

void stats_region_access(uint64_t number, uint32_t access)
{
	struct stats_region region;
	struct before before;
	long slot;

	if (!is_listed(number))
		return;
	slot = begin(&before) ? read_region_locked(number, &region) : -1;
	if (slot >= 0 && region.access != access) {
		region.access = access;
		write_region(slot, &region);
	}
	end(&before);
}

void stats_region_pinned(uint64_t number, uint64_t severed,
			 uint64_t keys_changed)
{
	struct stats_region region;
	struct before before;
	long slot;

	if (!is_listed(number))
		return;
	slot = begin(&before) ? read_region_locked(number, &region) : -1;
	if (slot >= 0) {
		region.severed = severed;
		region.keys_changed = keys_changed;
		write_region(slot, &region);
	}
	end(&before);
}

void stats_region_remove(uint64_t number)
{
	static const struct stats_region none;
	size_t slot = (size_t)(number & UINT32_MAX) - 1;
	struct before before;

	if (!is_listed(number))
		return;
	if (begin(&before) && slot < page_count * STATS_SLOTS) {
		write_region((long)slot, &none);
		regions_taken[slot / WORD] &= ~(1ULL << slot % WORD);
		add_to(&pages[0]->count[STATS_DEREGISTERED], 1);
	}
	end(&before);
}

struct stats_file_slot *stats_file_take(void)
{
	struct stats_file_slot *file = NULL;
	struct before before;
	long slot = begin(&before) ? take_locked(files_taken) : -1;

	if (slot >= 0)
		file = &pages[slot / STATS_SLOTS]->file[slot % STATS_SLOTS];
	end(&before);
	return file;
}

void stats_file_give_back(struct stats_file_slot *file)
{
	static const struct stats_file none;
	struct before before;

	begin(&before);
	for (size_t i = 0; i < page_count; i++) {
		size_t slot = (size_t)(file - pages[i]->file);

		if (file < pages[i]->file || slot >= STATS_SLOTS)
			continue;
		stats_slot_write(&file->sequence, file->word, &none,
				 STATS_WORDS(none));
		files_taken[i] &= ~(1ULL << slot);
	}
	end(&before);
}

static void write_refusal(struct stats_refusal_slot *to, int error,
			  unsigned int refusal, const char *why)
{
	struct stats_refusal last = {
		.at_ns = clock_now_ns(),
		.error = (uint64_t)error,
		.reason = refusal,
	};

	strncpy(last.why, why, sizeof(last.why) - 1);
	stats_slot_write(&to->sequence, to->word, &last, STATS_WORDS(last));
}

void stats_refused(int error, unsigned int refusal, const char *why)
{
	/* Readers list them by name: what has none is counted as one. */
	bool is_known =
		error > 0 && error < STATS_ERRNOS && strerrorname_np(error);
	struct before before;
	struct stats_page *first = begin(&before);

	if (first) {
		add_to(&first->refused[is_known ? error : 0], 1);
		add_to(&first->refused_for[refusal], 1);
		write_refusal(&first->refusal, is_known ? error : 0, refusal,
			      why);
	}
	end(&before);
}

/* NULL: there are too many. */
static struct stats_device *device_locked(struct stats_page *first,
					  const char *name)
{
	struct stats_device *device = first->device;

	for (; device < first->device + STATS_DEVICES; device++) {
		if (!atomic_load_explicit(&device->is_there,
					  memory_order_relaxed)) {
			strncpy(device->name, name, sizeof(device->name) - 1);
			atomic_store_explicit(&device->is_there, 1,
					      memory_order_release);
			return device;
		}
		if (!strncmp(device->name, name, sizeof(device->name) - 1))
			return device;
	}
	return NULL;
}

void stats_device_count(const char *name, unsigned int what, uint64_t by)
{
	struct before before;
	struct stats_page *first = begin(&before);
	struct stats_device *device = first ? device_locked(first, name) : NULL;

	if (device && what < STATS_DEVICE_COUNTS)
		add_to(&device->count[what], by);
	end(&before);
}
