/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow and file change places: swap.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "raw.h"
#include "reason.h"
#include "swap.h"
#include "trap.h"

/* Filled and let go at a time: a huge page. */
#define CHUNK (2UL << 20)

/* How often the thread that moves is looked at when no news comes from it. */
#define LOOK_MS 1

static int raw_advise(uintptr_t addr, size_t length, int advice)
{
	return syscall(SYS_madvise, addr, length, advice) ? -errno : 0;
}

/* The shadow, where nobody knows of it, ready to be moved. */
static int prepare(const struct swap *swap, struct trap *trap,
		   struct swap_view *view)
{
	void *from = (void *)syscall(SYS_mmap, NULL, view->length, PROT_NONE,
				     MAP_SHARED | MAP_NORESERVE,
				     swap->shadow_fd, view->offset);
	int r;

	if (from == MAP_FAILED)
		return -errno;
	view->from = (uintptr_t)from;
	/* A child would see pages that aren't filled yet. */
	r = raw_advise(view->from, view->length, MADV_DONTFORK);
	if (!r)
		r = raw_advise(view->from, view->length, MADV_DONTDUMP);
	if (!r)
		r = trap_set(trap, view->from, view->length);
	if (!r && syscall(SYS_mprotect, from, view->length, view->prot))
		r = -errno;
	return r;
}

static int move(const struct swap *swap, struct trap *trap,
		struct swap_view *view)
{
	const struct swap_ops *ops = swap->ops;
	bool is_told = false;
	int r;

	ops->move(ops->arg, view->from, view->addr, view->length);
	for (;;) {
		uintptr_t addr;
		int news = trap_read(trap, LOOK_MS, &addr);

		/* Faults of views that were moved before: they wait. */
		if (news < 0)
			return news;
		if (news == TRAP_MOVED && addr == view->addr)
			is_told = true;
		r = ops->moved(ops->arg);
		if (r == 0 && is_told) {
			view->from = 0;
			return 0;
		}
		if (r != 0 && r != -EINPROGRESS)
			return r;
	}
}

static int read_file(const struct swap *swap, char *to, size_t offset,
		     size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_pread64, swap->file_fd, to, length,
				    swap->offset + offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* Beyond the end; a page must be there to be let go. */
		if (n == 0) {
			memset(to, 0, length);
			return 0;
		}
		to += n;
		offset += (size_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int write_file(const struct swap *swap, const char *from, size_t offset,
		      size_t length)
{
	while (length) {
		ssize_t n = syscall(SYS_pwrite64, swap->file_fd, from, length,
				    swap->offset + offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		offset += (size_t)n;
		length -= (size_t)n;
	}
	return 0;
}

struct filling {
	const struct swap *swap;
	struct trap *trap; /* NULL: nobody waits */
	char *shadow;	   /* all of it, ours alone */
	bool *is_done;	   /* per chunk */
	size_t chunks;
	size_t next;
};

static size_t chunk_length(const struct filling *filling, size_t chunk)
{
	size_t left = filling->swap->length - chunk * CHUNK;

	return left < CHUNK ? left : CHUNK;
}

/* fn for the part of each view that lies in the chunk. */
static int each_part(const struct filling *filling, size_t chunk,
		     int (*fn)(struct trap *trap, uintptr_t addr,
			       size_t length))
{
	uint64_t start = chunk * CHUNK;
	uint64_t end = start + chunk_length(filling, chunk);

	for (unsigned int i = 0; i < filling->swap->count; i++) {
		const struct swap_view *view = &filling->swap->views[i];
		uint64_t from = view->offset > start ? view->offset : start;
		uint64_t to = view->offset + view->length < end
				      ? view->offset + view->length
				      : end;
		int r = from < to ? fn(filling->trap,
				       view->addr + (from - view->offset),
				       to - from)
				  : 0;

		if (r)
			return r;
	}
	return 0;
}

/* The chunk that a fault at this address waits for; `next` where it's none. */
static size_t chunk_of(const struct filling *filling, uintptr_t addr)
{
	for (unsigned int i = 0; i < filling->swap->count; i++) {
		const struct swap_view *view = &filling->swap->views[i];

		if (addr >= view->addr && addr - view->addr < view->length)
			return (addr - view->addr + view->offset) / CHUNK;
	}
	return filling->next;
}

static int fill_chunk(struct filling *filling, size_t chunk)
{
	int r = 0;

	if (!filling->is_done[chunk])
		r = read_file(filling->swap, filling->shadow + chunk * CHUNK,
			      chunk * CHUNK, chunk_length(filling, chunk));
	if (r)
		return r;
	/* From here on it may be stored to. */
	filling->is_done[chunk] = true;
	return filling->trap ? each_part(filling, chunk, trap_let_go) : 0;
}

static int fill(struct filling *filling)
{
	int r = 0;

	while (!r) {
		size_t chunk;
		uintptr_t addr;

		while (filling->next < filling->chunks &&
		       filling->is_done[filling->next])
			filling->next++;
		if (filling->next == filling->chunks)
			return 0;
		chunk = filling->next;
		if (filling->trap &&
		    trap_read(filling->trap, 0, &addr) == TRAP_FAULT)
			chunk = chunk_of(filling, addr);
		r = fill_chunk(filling, chunk);
	}
	return r;
}

static void map_back(const struct swap *swap, const struct swap_view *view)
{
	swap->ops->map_file(swap->ops->arg, view);
}

/* What was let go may have been stored to. */
static void take_back(struct filling *filling, unsigned int moved)
{
	const struct swap *swap = filling->swap;

	for (unsigned int i = 0; i < moved; i++)
		trap_freeze(swap->views[i].addr, swap->views[i].length);
	for (size_t chunk = 0; chunk < filling->chunks; chunk++)
		if (filling->is_done[chunk])
			write_file(swap, filling->shadow + chunk * CHUNK,
				   chunk * CHUNK, chunk_length(filling, chunk));
}

static void drop_prepared(const struct swap *swap)
{
	for (unsigned int i = 0; i < swap->count; i++)
		if (swap->views[i].from)
			raw_unmap((void *)swap->views[i].from,
				  swap->views[i].length);
}

/* Before the trap is closed: until then nobody sees a child's share. */
static void finish_view(const struct swap_view *view)
{
	if (!view->is_dontfork)
		raw_advise(view->addr, view->length, MADV_DOFORK);
	if (view->is_locked)
		syscall(SYS_mlock, view->addr, view->length);
}

static int map_shadow(const struct swap *swap, const struct swap_view *view)
{
	void *at =
		(void *)syscall(SYS_mmap, view->addr, view->length, view->prot,
				MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
				swap->shadow_fd, view->offset);

	if (at == MAP_FAILED)
		return -errno;
	return raw_advise(view->addr, view->length, MADV_DONTDUMP);
}

/* Nobody is there who could see it half done. */
static int swap_in_alone(const struct swap *swap, struct filling *filling)
{
	int r = fill(filling);

	for (unsigned int i = 0; !r && i < swap->count; i++) {
		r = map_shadow(swap, &swap->views[i]);
		while (r && i--)
			map_back(swap, &swap->views[i]);
	}
	for (unsigned int i = 0; !r && i < swap->count; i++)
		finish_view(&swap->views[i]);
	return r;
}

static int swap_in_trapped(const struct swap *swap, struct filling *filling)
{
	struct trap trap;
	unsigned int moved = 0;
	int r = trap_open(&trap);

	if (r)
		return r;
	filling->trap = &trap;
	/* All of them before one is exposed. */
	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = prepare(swap, &trap, &swap->views[i]);
	while (!r && moved < swap->count) {
		r = move(swap, &trap, &swap->views[moved]);
		moved += !r;
	}
	if (!r)
		r = fill(filling);
	if (r) {
		take_back(filling, moved);
		for (unsigned int i = 0; i < moved; i++)
			map_back(swap, &swap->views[i]);
		drop_prepared(swap);
	} else {
		for (unsigned int i = 0; i < swap->count; i++)
			finish_view(&swap->views[i]);
	}
	trap_close(&trap);
	return r;
}

static int refuse(int r, const char *what, const struct swap *swap)
{
	switch (r) {
	case -EBUSY:
		return reason_set(r,
				  "%s: another userfaultfd of this program "
				  "already watches a part of the range",
				  what);
	case -ENOMEM:
		return reason_set(r,
				  "%s: no memory for %zu bytes in %u mappings; "
				  "or too many mappings: "
				  "/proc/sys/vm/max_map_count",
				  what, swap->length, swap->count);
	default:
		return reason_set(r, "%s: %s", what, strerrordesc_np(-r));
	}
}

int swap_in(const struct swap *swap)
{
	struct filling filling = {
		.swap = swap,
		.chunks = (swap->length + CHUNK - 1) / CHUNK,
	};
	const char *what = "no shadow can take the place of the file";
	int saved_errno = errno, r = -ENOMEM;

	for (unsigned int i = 0; i < swap->count; i++)
		swap->views[i].from = 0;
	filling.is_done = calloc(filling.chunks, sizeof(*filling.is_done));
	filling.shadow = raw_map(swap->shadow_fd, swap->length,
				 PROT_READ | PROT_WRITE, 0);
	if (filling.is_done && filling.shadow != MAP_FAILED)
		r = swap->is_alone ? swap_in_alone(swap, &filling)
				   : swap_in_trapped(swap, &filling);
	if (filling.shadow != MAP_FAILED)
		raw_unmap(filling.shadow, swap->length);
	free(filling.is_done);
	errno = saved_errno;
	/* trap_open() has said it better. */
	return r && r != -EPERM && r != -EOPNOTSUPP && r != -ENOSYS
		       ? refuse(r, what, swap)
		       : r;
}

int swap_out(const struct swap *swap, int (*flush)(void *arg), void *arg)
{
	struct trap trap = {.fd = -1};
	int saved_errno = errno, r = swap->is_alone ? 0 : trap_open(&trap);

	if (r)
		return r;
	for (unsigned int i = 0; !swap->is_alone && !r && i < swap->count;
	     i++) {
		r = trap_set(&trap, swap->views[i].addr, swap->views[i].length);
		if (!r)
			r = trap_freeze(swap->views[i].addr,
					swap->views[i].length);
	}
	if (r)
		refuse(r, "the shadow cannot be held still", swap);
	else
		r = flush(arg);
	for (unsigned int i = 0; !r && i < swap->count; i++)
		map_back(swap, &swap->views[i]);
	if (!swap->is_alone)
		trap_close(&trap);
	errno = saved_errno;
	return r;
}
