/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadows of a leased file: staged.h.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lease_talk.h"
#include "raw.h"
#include "reason.h"
#include "staged.h"

/* Other mappings came or went while they were swapped. */
#define TRIES 8

/* How long a flush is waited for that nothing is heard of. */
#define FLUSH_NS (30 * 1000000000LL)

struct staged {
	struct staged *next;	    /* of the lease */
	struct staged *next_shadow; /* of the table's bucket */
	struct lease *lease;
	dev_t shadow_dev;
	ino_t shadow_ino;
	uint64_t offset;
	uint64_t end;
	unsigned int refs;
	uint32_t id; /* for the keeper */
	int shadow_fd;
	int page_fd;
	struct extent extent;
	bool is_sync;	  /* the file was mapped with MAP_SYNC */
	bool is_dontdump; /* the program had said so itself */
	bool is_let_go;	  /* the keeper has it no more */
	int error;	  /* the keeper's answer */
};

/* What the steps of a swap need to know. */
struct swapping {
	struct lease_table *table;
	struct lease *lease;
	struct staged *staged;
	const struct staged_mover *mover;
};

static bool overlaps(const struct staged *staged, uint64_t offset, uint64_t end)
{
	return staged->offset < end && staged->end > offset;
}

static void widen(uint64_t *offset, uint64_t *end)
{
	*end = (*end + EXTENT_BLOCK - 1) / EXTENT_BLOCK * EXTENT_BLOCK;
	*offset = *offset / EXTENT_BLOCK * EXTENT_BLOCK;
}

/*
 * Two tasks: the thread that waits for us and our own. Nobody else can be
 * there: new ones are started by those that run.
 */
static bool is_alone(void)
{
	struct dirent *entry;
	int fd = raw_open(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned int tasks = 0;

	if (!dir) {
		if (fd >= 0)
			raw_close(fd);
		return false;
	}
	while ((entry = readdir(dir)))
		tasks += entry->d_name[0] != '.';
	closedir(dir);
	return tasks <= 2;
}

static void remove_flag(char *flags, const char *flag)
{
	char *at = strstr(flags, flag);

	if (at)
		memmove(at, at + 2, strlen(at + 2) + 1);
}

/* The shared mappings of `file`, as far as they lie in [offset, end) of it. */
static int find_views(dev_t dev, ino_t ino, uint64_t offset, uint64_t end,
		      struct swap_view **ret, unsigned int *ret_count)
{
	struct mapping_state *states;
	struct swap_view *views;
	unsigned int found = 0;
	size_t count;
	int r = mapping_all(dev, ino, &states, &count);

	if (r)
		return reason_set(r, "mappings cannot be seen (/proc: %s)",
				  strerrordesc_np(-r));
	views = calloc(count + 1, sizeof(*views));
	for (size_t i = 0; views && i < count; i++) {
		struct mapping *mapping = &states[i].mapping;
		uint64_t stop = mapping->offset + mapping->end - mapping->start;

		if (!mapping->is_shared || mapping->offset >= end ||
		    stop <= offset)
			continue;
		if (mapping->offset < offset) {
			mapping->start += offset - mapping->offset;
			mapping->offset = offset;
		}
		if (stop > end)
			mapping->end -= stop - end;
		views[found++].state = states[i];
	}
	free(states);
	if (!views)
		return reason_set(-ENOMEM, "no memory for the mappings' list");
	*ret = views;
	*ret_count = found;
	return 0;
}

static void ask_move(void *arg, struct swap_view *view)
{
	const struct staged_mover *mover = ((struct swapping *)arg)->mover;

	mover->move(mover->arg, view);
}

static int what_of_move(void *arg)
{
	const struct staged_mover *mover = ((struct swapping *)arg)->mover;

	return mover->moved(mover->arg);
}

/*
 * The keeper reads messages in their order, so the answer to the next one is
 * the proof that it flushes this extent no more.
 */
static void let_go(void *arg)
{
	const struct swapping *swapping = arg;
	struct lease *lease = swapping->lease;
	struct keeper *keeper = &swapping->table->keeper;

	swapping->staged->is_let_go = true;
	keeper_detach(keeper, lease->id, swapping->staged->id);
	lease->is_waiting = true;
	keeper_own_begin(keeper, lease->id, KEEPER_OWN_ALLOCATE);
	talk_wait(swapping->table, lease);
	keeper_own_end(keeper, lease->id, KEEPER_OWN_ALLOCATE);
}

static int swap_in_once(struct swapping *swapping)
{
	const struct lease *lease = swapping->lease;
	struct staged *staged = swapping->staged;
	const struct swap_ops ops = {ask_move, what_of_move, let_go, swapping};
	struct swap swap = {
		.ops = &ops,
		.file_fd = lease->fd,
		.shadow_fd = staged->shadow_fd,
		.extent = &staged->extent,
	};
	int r = find_views(lease->dev, lease->ino, staged->offset, staged->end,
			   &swap.views, &swap.count);

	if (r)
		return r;
	for (unsigned int i = 0; i < swap.count; i++) {
		const struct mapping_state *state = &swap.views[i].state;

		staged->is_sync |= mapping_has(state, "sf");
		staged->is_dontdump |= mapping_has(state, "dd");
	}
	swap.is_alone = is_alone();
	r = swap_in(&swap);
	free(swap.views);
	return r;
}

/* The views are mappings of the shadow: what they had as the file's. */
static void describe_as_file(const struct lease *lease,
			     const struct staged *staged,
			     struct swap_view *view)
{
	struct mapping_state *state = &view->state;

	state->mapping.dev = lease->dev;
	state->mapping.ino = lease->ino;
	state->mapping.offset += staged->offset;
	if (!staged->is_dontdump)
		remove_flag(state->flags, "dd");
	if (staged->is_sync)
		strncat(state->flags, " sf",
			sizeof(state->flags) - strlen(state->flags) - 1);
}

/* Until the keeper has been through all of it once from now on. */
static int flush_one(struct lease_table *table, struct lease *lease,
		     const struct staged *staged)
{
	struct extent_page *page = staged->extent.page;
	uint64_t begun = atomic_load(&page->generation);
	int64_t deadline_ns = talk_now() + FLUSH_NS;
	pid_t keeper = 0;

	for (;;) {
		enum recall_state state = lease_state(lease);

		if (atomic_load(&page->complete) > begun)
			return 0;
		if (state == RECALL_YIELDED || state == RECALL_LOST)
			return reason_set(-EAGAIN,
					  "others have the file now: what is "
					  "new is written when it is ours "
					  "again");
		if (atomic_load(&page->state) == EXTENT_FAILED &&
		    atomic_load(&page->generation) > begun)
			return reason_set(-EIO,
					  "not all could be written to the "
					  "file; it is tried again");
		if (talk_now() > deadline_ns)
			return reason_set(-ETIMEDOUT,
					  "the keeper has not written the file "
					  "in %lld s",
					  FLUSH_NS / 1000000000LL);
		/* Each keeper has to be asked. */
		if (!table->is_keeper_dead && keeper != table->keeper.pid) {
			keeper = table->keeper.pid;
			keeper_flush(&table->keeper, lease->id);
		}
		talk_step(table);
	}
}

static int flush_frozen(void *arg)
{
	struct swapping *swapping = arg;

	return flush_one(swapping->table, swapping->lease, swapping->staged);
}

static int swap_out_now(struct lease_table *table, struct lease *lease,
			struct staged *staged)
{
	struct swapping swapping = {
		.table = table,
		.lease = lease,
		.staged = staged,
	};
	const struct swap_ops ops = {.let_go = let_go, .arg = &swapping};
	struct swap swap = {
		.ops = &ops,
		.file_fd = lease->fd,
		.shadow_fd = staged->shadow_fd,
		.extent = &staged->extent,
	};
	int r;

	/* Most of it while the program runs. */
	r = flush_one(table, lease, staged);
	if (!r)
		r = find_views(staged->shadow_dev, staged->shadow_ino, 0,
			       staged->end - staged->offset, &swap.views,
			       &swap.count);
	if (r)
		return r;
	for (unsigned int i = 0; i < swap.count; i++)
		describe_as_file(lease, staged, &swap.views[i]);
	swap.is_alone = is_alone();
	r = swap_out(&swap, flush_frozen, &swapping);
	free(swap.views);
	return r;
}

static void attach(struct lease_table *table, const struct lease *lease,
		   const struct staged *staged)
{
	struct keeper_extent extent = {
		.id = lease->id,
		.extent = staged->id,
		.offset = staged->offset,
		.length = staged->end - staged->offset,
		.shadow_fd = staged->shadow_fd,
		.page_fd = staged->page_fd,
	};

	keeper_attach(&table->keeper, &extent);
}

unsigned int staged_count(const struct lease *lease)
{
	unsigned int count = 0;

	for (const struct staged *at = lease->staged; at; at = at->next)
		count += !at->is_let_go;
	return count;
}

void staged_attach_all(struct lease_table *table, const struct lease *lease)
{
	for (struct staged *at = lease->staged; at; at = at->next)
		if (!at->is_let_go)
			attach(table, lease, at);
}

void staged_attached(struct lease *lease, uint32_t extent, int error)
{
	for (struct staged *at = lease->staged; at; at = at->next) {
		if (at->id != extent)
			continue;
		at->error = error;
		lease->is_waiting = false;
	}
}

static void free_staged(struct staged *staged)
{
	if (staged->extent.page)
		extent_unmap(&staged->extent);
	if (staged->shadow_fd >= 0)
		raw_close(staged->shadow_fd);
	if (staged->page_fd >= 0)
		raw_close(staged->page_fd);
	free(staged);
}

static struct staged **bucket_of(struct lease_table *table, ino_t ino)
{
	return &table->by_shadow[ino % TABLE_SHADOWS];
}

struct lease *staged_lease(const struct lease_table *table, dev_t dev,
			   ino_t ino)
{
	const struct staged *at = table->by_shadow[ino % TABLE_SHADOWS];

	while (at && (at->shadow_dev != dev || at->shadow_ino != ino))
		at = at->next_shadow;
	return at ? at->lease : NULL;
}

/* The keeper has let go of it. */
static void drop(struct lease *lease, struct staged *staged)
{
	struct staged **at = &lease->staged;

	while (*at != staged)
		at = &(*at)->next;
	*at = staged->next;
	at = bucket_of(lease->table, staged->shadow_ino);
	while (*at != staged)
		at = &(*at)->next_shadow;
	*at = staged->next_shadow;
	free_staged(staged);
}

static int make_shadow(struct staged *staged)
{
	uint64_t length = staged->end - staged->offset;
	struct stat st;
	int r;

	staged->shadow_fd = (int)syscall(SYS_memfd_create, "daxmr-shadow",
					 MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (staged->shadow_fd < 0 ||
	    syscall(SYS_ftruncate, staged->shadow_fd, length) ||
	    raw_stat(staged->shadow_fd, &st)) {
		r = -errno;
		return reason_set(r, "no shadow of %ju bytes: %s",
				  (uintmax_t)length, strerrordesc_np(-r));
	}
	staged->shadow_dev = st.st_dev;
	staged->shadow_ino = st.st_ino;
	return extent_new(staged->offset, length, &staged->extent,
			  &staged->page_fd);
}

/* From here on the keeper knows of it; it is on the list before it answers. */
static int lay_before_keeper(struct lease_table *table, struct lease *lease,
			     struct staged *staged)
{
	struct staged **bucket = bucket_of(table, staged->shadow_ino);

	staged->next = lease->staged;
	lease->staged = staged;
	staged->next_shadow = *bucket;
	*bucket = staged;
	lease->is_waiting = true;
	attach(table, lease, staged);
	talk_wait(table, lease);
	return staged->error;
}

/*
 * An extent for a gap. The keeper has it before it is filled: a program that is
 * killed the next moment has lost nothing.
 */
static int add_gap(struct lease_table *table, struct lease *lease,
		   uint64_t offset, uint64_t end,
		   const struct staged_mover *mover)
{
	struct staged *staged = calloc(1, sizeof(*staged));
	struct swapping swapping = {table, lease, staged, mover};
	int r;

	if (!staged)
		return reason_set(-ENOMEM, "no memory for one extent more");
	*staged = (struct staged){
		.lease = lease,
		.offset = offset,
		.end = end,
		.id = ++lease->last_extent,
		.shadow_fd = -1,
		.page_fd = -1,
	};
	r = make_shadow(staged);
	if (r) {
		free_staged(staged);
		return r;
	}
	r = lay_before_keeper(table, lease, staged);
	if (r) {
		drop(lease, staged);
		return reason_set(r,
				  "the keeper cannot look after the range: %s",
				  strerrordesc_np(-r));
	}
	r = -EAGAIN;
	for (int i = 0; r == -EAGAIN && !staged->is_let_go && i < TRIES; i++)
		r = swap_in_once(&swapping);
	if (r) {
		if (!staged->is_let_go)
			let_go(&swapping);
		drop(lease, staged);
	}
	return r;
}

/* The first byte from `at` on that no extent has, and where that ends. */
static bool find_gap(const struct lease *lease, uint64_t at, uint64_t end,
		     uint64_t *ret_offset, uint64_t *ret_end)
{
	bool is_covered = true;

	while (is_covered && at < end) {
		is_covered = false;
		for (const struct staged *staged = lease->staged; staged;
		     staged = staged->next)
			if (overlaps(staged, at, at + 1)) {
				at = staged->end;
				is_covered = true;
			}
	}
	if (at >= end)
		return false;
	for (const struct staged *staged = lease->staged; staged;
	     staged = staged->next)
		if (staged->offset > at && staged->offset < end)
			end = staged->offset;
	*ret_offset = at;
	*ret_end = end;
	return true;
}

int staged_add(struct lease_table *table, struct lease *lease, uint64_t offset,
	       uint64_t length, const struct staged_mover *mover)
{
	uint64_t end = offset + length, from, to;
	int r = 0;

	if (lease->fd < 0)
		return reason_set(-EMFILE,
				  "no descriptor left to fill a shadow: raise "
				  "RLIMIT_NOFILE");
	widen(&offset, &end);
	while (!r && find_gap(lease, offset, end, &from, &to))
		r = add_gap(table, lease, from, to, mover);
	if (r) {
		staged_tidy(table, lease);
		return r;
	}
	for (struct staged *at = lease->staged; at; at = at->next)
		at->refs += overlaps(at, offset, end);
	return 0;
}

void staged_tidy(struct lease_table *table, struct lease *lease)
{
	struct staged *next;

	for (struct staged *at = lease->staged; at; at = next) {
		next = at->next;
		if (!at->refs && !swap_out_now(table, lease, at))
			drop(lease, at);
	}
}

int staged_remove(struct lease_table *table, struct lease *lease,
		  uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	struct staged *next;
	int error = 0;

	widen(&offset, &end);
	for (struct staged *at = lease->staged; at; at = next) {
		int r;

		next = at->next;
		if (!overlaps(at, offset, end) || --at->refs)
			continue;
		r = swap_out_now(table, lease, at);
		if (r)
			error = r;
		else
			drop(lease, at);
	}
	return error;
}

int staged_flush(struct lease_table *table, struct lease *lease,
		 uint64_t offset, uint64_t length)
{
	int r = 0;

	for (struct staged *at = lease->staged; !r && at; at = at->next)
		if (overlaps(at, offset, offset + length))
			r = flush_one(table, lease, at);
	return r;
}
