/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow and file of an extent change places, with the keeper: staged_parts.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "aside.h"
#include "errand.h"
#include "heap.h"
#include "lease_talk.h"
#include "numbers.h"
#include "raw.h"
#include "reason.h"
#include "self_maps.h"
#include "shadow_places.h"
#include "staged_parts.h"
#include "undumped.h"
#include "views.h"

/*
 * Of a task: it runs nothing of the program any more, but is seen until the
 * kernel is through with it, which may be after it has been joined. PF_EXITING
 * of the flags in its stat (proc(5)).
 */
static bool is_exiting(int tasks_fd, pid_t tid)
{
	const unsigned long exiting = 0x4;
	unsigned long flags = 0;
	char path[64], stat[512];
	const char *behind;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%d/stat", tid);
	fd = raw_open(tasks_fd, path, O_RDONLY);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH;
	n = raw_read(fd, stat, sizeof(stat) - 1);
	raw_close(fd);
	if (n <= 0)
		return n < 0 && errno == ESRCH;
	stat[n] = '\0';
	behind = strrchr(stat, ')');
	return behind &&
	       sscanf(behind, ") %*c %*d %*d %*d %*d %*d %lu", &flags) == 1 &&
	       flags & exiting;
}

/* Is it one of the program that may run? */
static bool counts(const struct lease_table *table, int tasks_fd, pid_t tid)
{
	return !errand_is_worker(table, tid) && !aside_is(tid) &&
	       !is_exiting(tasks_fd, tid);
}

/*
 * Two tasks: the thread that waits for us and our own. Nobody else can be
 * there: new ones are started by those that run. If nobody has asked, the other
 * one runs.
 */
bool staged_is_alone(const struct lease_table *table)
{
	unsigned int tasks = 0;
	struct numbers numbers;
	int r = 0, tid;

	if (!table->is_asked ||
	    numbers_open(&numbers, AT_FDCWD, "/proc/self/task"))
		return false;
	while (tasks <= 2 && (r = numbers_next(&numbers, &tid)) > 0)
		tasks += counts(table, numbers.fd, tid);
	numbers_close(&numbers);
	return r >= 0 && tasks <= 2;
}

int staged_open_view(struct staged *staged)
{
	bool is_read_only = staged->lease->type == F_RDLCK;
	char link[64];
	int fd;

	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d",
		 staged->shadow_fd);
	fd = raw_open(AT_FDCWD, link, is_read_only ? O_RDONLY : O_RDWR);
	staged->has_uncounted |= is_read_only || fd < 0;
	return fd < 0 && !is_read_only ? staged->shadow_fd : fd;
}

void staged_close_view(const struct staged *staged, int view_fd)
{
	if (view_fd >= 0 && view_fd != staged->shadow_fd)
		raw_close(view_fd);
}

/*
 * A read lease is for files that nobody has open for writing, and what is
 * mapped has a description that was opened. That which came with the memfd,
 * ours and the keeper's, the kernel does not count.
 */
static bool may_be_mapped(const struct staged *staged)
{
	/* Should somebody open it just then: this thread hears no signal. */
	const struct f_owner_ex owner = {F_OWNER_TID, gettid()};
	int fd = staged->shadow_fd;

	return staged->has_uncounted ||
	       syscall(SYS_fcntl, fd, F_SETOWN_EX, &owner) ||
	       syscall(SYS_fcntl, fd, F_SETLEASE, F_RDLCK) ||
	       syscall(SYS_fcntl, fd, F_SETLEASE, F_UNLCK);
}

static bool is_still(const struct swapping *swapping)
{
	return swapping->lease->type == F_RDLCK ||
	       staged_is_alone(swapping->table);
}

/* Two letters and a space each, also the last: who reads them goes by threes.
 */
static void remove_flag(char *flags, const char *flag)
{
	char *at = strstr(flags, flag);

	if (at && at[2])
		memmove(at, at + 3, strlen(at + 3) + 1);
	else if (at)
		*at = '\0';
}

static void add_flag(char *flags, size_t size, const char *flag)
{
	size_t used = strlen(flags);

	snprintf(flags + used, size - used, "%s%s ",
		 used && flags[used - 1] != ' ' ? " " : "", flag);
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

static void send_let_go(const struct swapping *swapping, uint32_t ticket)
{
	struct staged *staged = swapping->staged;

	staged->is_let_go = true;
	staged->left_ticket = ticket;
	extent_begin_leave(&staged->extent, ticket);
	keeper_detach(&swapping->table->keeper, swapping->lease->id,
		      staged->attached.extent, ticket);
}

void staged_let_go_soon(const struct swapping *swapping)
{
	send_let_go(swapping, talk_ticket(swapping->table));
}

int staged_let_go(const struct swapping *swapping)
{
	struct lease *lease = swapping->lease;
	int r;

	send_let_go(swapping,
		    talk_expect(swapping->table, lease, KEEPER_DETACH));
	r = talk_wait_for_answer(swapping->table, lease);
	if (!r)
		swapping->staged->left_ticket = 0;
	return r;
}

/*
 * What the keeper has not heard of it is not to hear any more: from now on the
 * program stores in the shadow again. Else it is just about to answer, and the
 * page is its own until it has.
 */
static int let_go_or_stay(void *arg)
{
	const struct swapping *swapping = arg;
	struct staged *staged = swapping->staged;
	int r = staged_let_go(swapping);

	if (!r)
		return 0;
	if (!extent_end_leave(&staged->extent, staged->left_ticket))
		return 0;
	staged->is_let_go = false;
	staged->left_ticket = 0;
	return r;
}

/*
 * The file has to be mapped back. A keeper that has been stopped while it
 * stores is through with that block when it goes on, and stores none after it.
 */
static int let_go_unfilled(void *arg)
{
	const struct swapping *swapping = arg;
	const struct extent *extent = &swapping->staged->extent;
	int r = staged_let_go(swapping);

	for (uint64_t block = 0; r && block < extent->blocks; block++)
		extent_clear_filled(extent, block);
	return r;
}

void staged_describe_as_file(const struct staged *staged,
			     struct mapping_state *state)
{
	uintptr_t end;

	state->mapping.dev = staged->lease->dev;
	state->mapping.ino = staged->lease->ino;
	state->mapping.offset += staged->offset;
	if (!undumped_at(staged->lease->table->undumped, state->mapping.start,
			 state->mapping.end, &end))
		remove_flag(state->flags, "dd");
	if (staged->is_sync)
		add_flag(state->flags, sizeof(state->flags), "sf");
}

/* Where only a part of one is to be left out of dumps it is two or more. */
static int part_views(const struct undumped *undumped, struct swap_view **views,
		      unsigned int *count)
{
	unsigned int borders = 2 * undumped_count(undumped), found = 0;
	struct swap_view *parts;
	uintptr_t next;

	if (!borders)
		return 0;
	parts = heap_get(*count + borders + 1, sizeof(*parts));
	if (!parts)
		return reason_set(-ENOMEM, "no memory for the mappings' list");
	for (unsigned int i = 0; i < *count; i++) {
		const struct mapping *whole = &(*views)[i].state.mapping;

		for (uintptr_t at = whole->start; at < whole->end; at = next) {
			struct swap_view *part = &parts[found++];

			undumped_at(undumped, at, whole->end, &next);
			*part = (*views)[i];
			part->state.mapping.start = at;
			part->state.mapping.end = next;
			part->state.mapping.offset += at - whole->start;
		}
	}
	heap_put(*views);
	*views = parts;
	*count = found;
	return 0;
}

static int find_shadow_views(const struct swapping *swapping, bool is_frozen,
			     struct swap_view **ret, unsigned int *ret_count)
{
	const struct staged *staged = swapping->staged;
	const struct views_of what = {
		.dev = staged->shadow_dev,
		.ino = staged->shadow_ino,
		.end = staged->end - staged->offset,
		.own = staged->bytes,
		/* Where threads run, who holds them up is told that. */
		.may_be_trapped = is_still(swapping),
		.is_alone = staged_is_alone(swapping->table),
		.is_frozen = is_frozen,
		.skipped = &swapping->table->skipped,
	};
	int r = views_find(&what, ret, ret_count);

	if (!r) {
		r = part_views(swapping->table->undumped, ret, ret_count);
		if (r)
			heap_put(*ret);
	}
	for (unsigned int i = 0; !r && i < *ret_count; i++)
		staged_describe_as_file(staged, &(*ret)[i].state);
	return r;
}

static int is_shadow(const struct self_map *map, void *arg)
{
	const struct staged *staged = ((struct swapping *)arg)->staged;

	return map->is_shared && map->dev == staged->shadow_dev &&
	       map->ino == staged->shadow_ino &&
	       map->start != (uintptr_t)staged->bytes;
}

/* Seldom any: smaps takes longer than maps, and threads wait meanwhile. */
static int find_rest(void *arg, struct swap_view **ret, unsigned int *ret_count)
{
	const struct swapping *swapping = arg;
	const struct skipped *skipped = &swapping->table->skipped;

	*ret = NULL;
	*ret_count = 0;
	return may_be_mapped(swapping->staged) &&
			       self_maps_each_shared(skipped, is_shadow, arg) >
				       0
		       ? find_shadow_views(swapping, true, ret, ret_count)
		       : 0;
}

static int swap_in_once(const struct swapping *swapping)
{
	const struct lease *lease = swapping->lease;
	struct staged *staged = swapping->staged;
	const struct swap_ops ops = {
		.move = ask_move,
		.moved = what_of_move,
		.let_go = let_go_unfilled,
		.find_rest = find_rest,
		.arg = (void *)swapping,
	};
	struct swap swap = {
		.ops = &ops,
		.file_fd = lease->fd,
		.shadow_fd = staged->shadow_fd,
		.shadow_bytes = staged->bytes,
		.extent = &staged->extent,
		.uffd = swapping->table->config->uffd,
	};
	const struct views_of what = {
		.dev = lease->dev,
		.ino = lease->ino,
		.offset = staged->offset,
		.end = staged->end,
		.skipped = &swapping->table->skipped,
	};
	int r = views_find(&what, &swap.views, &swap.count);

	if (r)
		return r;
	for (unsigned int i = 0; i < swap.count; i++) {
		const struct mapping_state *state = &swap.views[i].state;

		staged->is_sync |= mapping_has(state, "sf");
		undumped_set(&swapping->table->undumped, state->mapping.start,
			     state->mapping.end, mapping_has(state, "dd"));
		shadow_places_add(state->mapping.start, state->mapping.end);
	}
	swap.is_alone = staged_is_alone(swapping->table);
	swap.is_still = swap.is_alone || lease->type == F_RDLCK;
	swap.view_fd = staged_open_view(staged);
	r = swap.view_fd < 0
		    ? reason_set(-errno, "no descriptor left for a shadow")
		    : swap_in(&swap);
	staged_close_view(staged, swap.view_fd);
	if (!r && !swap.is_alone)
		staged_expect_sleepers(swapping->table);
	heap_put(swap.views);
	return r;
}

int staged_swap_in(const struct swapping *swapping)
{
	int r;

	/* From the look at what is mapped on. */
	atomic_fetch_add(&shadows_swaps, 1);
	r = swap_in_once(swapping);
	atomic_fetch_add(&shadows_swaps, 1);
	return r;
}

static bool is_with_others(const struct lease *lease)
{
	enum recall_state state = lease_state(lease);

	return state == RECALL_YIELDED || state == RECALL_LOST;
}

/*
 * Of all shadows of the file this one alone. What is in conflict keeps it from
 * nothing: the file's stays in the file, as who registers it anew is told
 * (staged_flush()), and nobody else would ever end that.
 */
int staged_flush_one(const struct swapping *swapping)
{
	struct lease *lease = swapping->lease;
	const struct staged *staged = swapping->staged;
	int r = 0;

	/* What is only read has nothing for the file. */
	if (lease->type == F_RDLCK)
		return 0;
	if (!is_with_others(lease))
		r = staged_persist(swapping->table, lease, staged->offset,
				   staged->end);
	/* Then it has to stay, though all of it may be there. */
	if (is_with_others(lease))
		return reason_set(-EAGAIN, "others have the file now: what is "
					   "new is written when it is ours "
					   "again");
	return r;
}

static int flush_frozen(void *arg)
{
	return staged_flush_one(arg);
}

static int swap_out_once(const struct swapping *swapping)
{
	const struct lease *lease = swapping->lease;
	const struct staged *staged = swapping->staged;
	void *arg = (void *)swapping;
	const struct swap_ops ops = {
		.let_go = let_go_or_stay, .find_rest = find_rest, .arg = arg};
	struct swap swap = {
		.ops = &ops,
		.file_fd = lease->fd,
		.shadow_fd = staged->shadow_fd,
		.view_fd = staged->shadow_fd,
		.extent = &swapping->staged->extent,
		.uffd = swapping->table->config->uffd,
	};
	int r = find_shadow_views(swapping, false, &swap.views, &swap.count);

	if (r)
		return r;
	swap.is_still = is_still(swapping);
	r = swap_out(&swap, flush_frozen, arg);
	for (unsigned int i = 0; !r && i < swap.count; i++)
		undumped_set(&swapping->table->undumped,
			     swap.views[i].state.mapping.start,
			     swap.views[i].state.mapping.end, false);
	heap_put(swap.views);
	return r;
}

/*
 * What the swap would be refused for at its end: before all of it is flushed
 * for nothing, again and again, and the gate is closed.
 */
static int check_swap_out(const struct swapping *swapping)
{
	struct trap trap;
	int r;

	if (is_still(swapping))
		return 0;
	r = trap_open(swapping->table->config->uffd, &trap);
	if (r)
		return r;
	trap_close(&trap);
	return staged_check_sleepers(swapping->staged);
}

int staged_swap_out(const struct swapping *swapping)
{
	int r = check_swap_out(swapping);

	/* Most of it while the program runs. */
	if (!r)
		r = staged_flush_one(swapping);
	if (!r)
		r = own_gate_close(swapping->table, swapping->lease);
	if (r)
		return r;
	atomic_fetch_add(&shadows_swaps, 1);
	r = -ESTALE;
	for (int i = 0; r == -ESTALE && i < STAGED_TRIES; i++)
		r = swap_out_once(swapping);
	atomic_fetch_add(&shadows_swaps, 1);
	return r == -ESTALE ? reason_set(-EAGAIN, "mappings of the file come "
						  "and go")
			    : r;
}
