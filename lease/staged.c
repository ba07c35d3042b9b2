/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadows of a leased file: staged.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "clock.h"
#include "heap.h"
#include "lease_talk.h"
#include "range.h"
#include "raw.h"
#include "reason.h"
#include "staged_parts.h"

/* How long a change of the program's own is waited for. */
#define CHANGE_NS (10 * 1000000000LL)

static void widen(uint64_t *offset, uint64_t *end)
{
	*end = (*end + EXTENT_BLOCK - 1) / EXTENT_BLOCK * EXTENT_BLOCK;
	*offset = *offset / EXTENT_BLOCK * EXTENT_BLOCK;
}

static void attach(struct lease_table *table, struct lease *lease,
		   struct staged *staged)
{
	struct keeper_extent extent = {
		.offset = staged->offset,
		.length = staged->end - staged->offset,
		.shadow_fd = staged->shadow_fd,
		.page = extent_place(&staged->extent),
	};

	attach_send(table, lease, &staged->attached, &extent);
}

unsigned int staged_count(const struct lease *lease)
{
	unsigned int count = 0;

	for (const struct staged *at = lease->staged; at; at = at->next)
		count += !at->is_let_go;
	return count;
}

void staged_attach(struct lease_table *table, struct lease *lease,
		   bool failed_only)
{
	for (struct staged *at = lease->staged; at; at = at->next)
		if (!at->is_let_go && (!failed_only || at->attached.error))
			attach(table, lease, at);
}

struct attached *staged_attached(struct lease *lease, uint32_t extent)
{
	struct staged *at = lease->staged;

	while (at && at->attached.extent != extent)
		at = at->next;
	return at ? &at->attached : NULL;
}

static void free_staged(struct lease_table *table, struct staged *staged)
{
	uint64_t length = staged->end - staged->offset;
	uintptr_t at = (uintptr_t)staged->bytes;

	if (staged->bytes) {
		skipped_remove(&table->skipped, at, at + length);
		raw_unmap(staged->bytes, length);
	}
	if (staged->extent.page)
		extent_free(&table->shelf, &staged->extent);
	if (staged->shadow_fd >= 0)
		raw_close(staged->shadow_fd);
	heap_put(staged);
}

struct lease *staged_lease(const struct lease_table *table, dev_t dev,
			   ino_t ino)
{
	const struct staged *staged = shadows_find(table, dev, ino);

	return staged ? staged->lease : NULL;
}

int staged_find(const struct lease_table *table, dev_t dev, ino_t ino,
		uint64_t *ret_offset)
{
	const struct staged *staged = shadows_find(table, dev, ino);

	if (!staged)
		return reason_set(-ENOENT, "the memfd is no shadow");
	*ret_offset = staged->offset;
	return 0;
}

/* The keeper has let go of it, or will: it is neither's any more. */
static void drop(struct lease *lease, struct staged *staged)
{
	struct lease_table *table = lease->table;
	struct staged **at = &lease->staged;

	while (*at != staged)
		at = &(*at)->next;
	*at = staged->next;
	staged_count_gone(lease, staged);
	shadows_drop(table, staged);
	if (staged->left_ticket && !table->is_keeper_dead) {
		staged->lease = NULL;
		staged->next = table->leaving;
		table->leaving = staged;
		return;
	}
	free_staged(table, staged);
}

static void free_leaving(struct lease_table *table, uint32_t ticket,
			 bool is_any)
{
	struct staged **at = &table->leaving, *staged;

	while ((staged = *at)) {
		if (!is_any && staged->left_ticket != ticket) {
			at = &staged->next;
			continue;
		}
		*at = staged->next;
		free_staged(table, staged);
	}
}

void staged_gone(struct lease_table *table, uint32_t ticket)
{
	free_leaving(table, ticket, false);
}

void staged_all_gone(struct lease_table *table)
{
	free_leaving(table, 0, true);
}

/*
 * The engine's own view of the shadow, which nothing ever holds up: for
 * transfers by system calls, which have no use for the engine's descriptors.
 * No child has it, and it is not locked, whatever mlockall() said.
 */
static int map_shadow(struct staged *staged)
{
	uint64_t length = staged->end - staged->offset;
	void *bytes =
		raw_map(staged->shadow_fd, length, PROT_READ | PROT_WRITE, 0);

	if (bytes == MAP_FAILED)
		return -errno;
	staged->bytes = bytes;
	skipped_add(&staged->lease->table->skipped, (uintptr_t)bytes,
		    (uintptr_t)bytes + length);
	syscall(SYS_munlock, bytes, length);
	return raw_keep_to_us(bytes, length) ? -errno : 0;
}

static int make_shadow(struct staged *staged)
{
	uint64_t length = staged->end - staged->offset;
	struct stat st;
	int r;

	staged->shadow_fd = (int)syscall(SYS_memfd_create, SHADOW_NAME,
					 MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (staged->shadow_fd < 0 ||
	    syscall(SYS_ftruncate, staged->shadow_fd, length) ||
	    raw_stat(staged->shadow_fd, &st)) {
		r = -errno;
		return reason_set(r,
				  "no shadow of %ju bytes can be made to take "
				  "the file's place: %s%s",
				  (uintmax_t)length, strerrordesc_np(-r),
				  reason_memory(r));
	}
	staged->shadow_dev = st.st_dev;
	staged->shadow_ino = st.st_ino;
	r = map_shadow(staged);
	if (r)
		return reason_set(r,
				  "a shadow of %ju bytes cannot be mapped: "
				  "%s",
				  (uintmax_t)length, strerrordesc_np(-r));
	r = extent_new(&staged->lease->table->shelf, staged->offset, length,
		       &staged->extent);
	/* Nobody stores there: what is in it the file has had. */
	if (!r && staged->lease->type == F_RDLCK)
		atomic_store(&staged->extent.page->had, length);
	return r;
}

/* From here on the keeper knows of it; it is on the list before it answers. */
static int lay_before_keeper(struct lease_table *table, struct lease *lease,
			     struct staged *staged)
{
	const struct swapping swapping = {table, lease, staged, NULL};
	struct staged **at = &lease->staged;
	int r;

	while (*at && (*at)->offset < staged->offset)
		at = &(*at)->next;
	staged->next = *at;
	*at = staged;
	talk_expect(table, lease, KEEPER_ATTACH);
	lease->awaited_extent = staged->attached.extent;
	attach(table, lease, staged);
	r = talk_wait_for_answer(table, lease);
	if (r)
		staged_let_go_soon(&swapping);
	return r ? r : lease->answer ? range_refuse(lease->answer) : 0;
}

/* For a reason that stays the one that is told. */
static void let_go(const struct swapping *swapping)
{
	unsigned int kind = reason_kind();
	char reason[REASON_MAX];

	snprintf(reason, sizeof(reason), "%s", reason_text());
	if (staged_let_go(swapping))
		reason_set_kind(kind, 0, "%s", reason);
}

/*
 * What the program changes itself is in the file before a shadow is filled from
 * it; the next change is not let begin before that is done.
 */
static int wait_for_changes(struct lease_table *table, struct lease *lease)
{
	int64_t deadline_ns = clock_now_ns() + CHANGE_NS;

	while (own_desk_is_changing(lease)) {
		if (clock_now_ns() > deadline_ns)
			return reason_set(-ETIMEDOUT,
					  "another thread has been changing "
					  "the file's size or blocks for "
					  "%lld s; try again when its "
					  "fallocate or ftruncate is through",
					  CHANGE_NS / 1000000000LL);
		talk_step(table);
	}
	return 0;
}

/*
 * The keeper has it before it is filled: a program that is killed the next
 * moment has lost nothing.
 */
static int add_extent(struct lease_table *table, struct lease *lease,
		      uint64_t offset, uint64_t end,
		      const struct staged_mover *mover)
{
	struct staged *staged = heap_get(1, sizeof(*staged));
	struct swapping swapping = {table, lease, staged, mover};
	int r;

	if (!staged)
		return reason_set(-ENOMEM, "no memory for one extent more");
	*staged = (struct staged){
		.lease = lease,
		.offset = offset,
		.end = end,
		.attached.extent = ++lease->last_extent,
		.shadow_fd = -1,
	};
	r = make_shadow(staged);
	if (!r)
		r = shadows_add(table, staged);
	if (r) {
		free_staged(table, staged);
		return r;
	}
	r = lay_before_keeper(table, lease, staged);
	if (r) {
		drop(lease, staged);
		return r;
	}
	r = -EAGAIN;
	for (int i = 0; r == -EAGAIN && !staged->is_let_go && i < STAGED_TRIES;
	     i++) {
		r = wait_for_changes(table, lease);
		if (!r)
			r = staged_swap_in(&swapping);
	}
	if (r) {
		if (!staged->is_let_go)
			let_go(&swapping);
		drop(lease, staged);
	}
	return r;
}

/* An extent for a gap, while the program's own transfers wait. */
static int add_gap(struct lease_table *table, struct lease *lease,
		   uint64_t offset, uint64_t end,
		   const struct staged_mover *mover)
{
	int r = own_gate_close(table, lease);

	if (!r)
		r = add_extent(table, lease, offset, end, mover);
	own_gate_open(table, lease);
	return r;
}

/* The first byte from `at` on that no extent has, and where that ends. */
static bool find_gap(const struct lease *lease, uint64_t at, uint64_t end,
		     uint64_t *ret_offset, uint64_t *ret_end)
{
	const struct staged *staged = lease->staged;

	while (staged && staged->offset <= at) {
		if (staged->end > at)
			at = staged->end;
		staged = staged->next;
	}
	if (at >= end)
		return false;
	*ret_offset = at;
	*ret_end = staged && staged->offset < end ? staged->offset : end;
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
	for (to = offset; !r && find_gap(lease, to, end, &from, &to);)
		r = add_gap(table, lease, from, to, mover);
	if (r) {
		staged_tidy(table, lease);
		return r;
	}
	for (struct staged *at = lease->staged; at; at = at->next)
		at->refs += staged_overlaps(at, offset, end);
	return 0;
}

/* From the swap on the program's own transfers wait. */
static int take_away(struct lease_table *table, struct lease *lease,
		     struct staged *staged)
{
	const struct swapping swapping = {table, lease, staged, NULL};
	int r = staged_swap_out(&swapping);

	if (!r)
		drop(lease, staged);
	own_gate_open(table, lease);
	return r;
}

void staged_tidy(struct lease_table *table, struct lease *lease)
{
	struct staged *next;

	if (table->is_keeper_silent)
		return;
	for (struct staged *at = lease->staged; at; at = next) {
		next = at->next;
		/* Each of the others would take as long. */
		if (!at->refs && take_away(table, lease, at) == -ETIMEDOUT)
			return;
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
		if (!staged_overlaps(at, offset, end) || --at->refs)
			continue;
		r = take_away(table, lease, at);
		if (r)
			error = r;
	}
	return error;
}
