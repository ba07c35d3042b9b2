/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow and file change places: swap.h.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fill.h"
#include "heap.h"
#include "raw.h"
#include "reason.h"
#include "swap.h"
#include "swap_sleepers.h"

/* How often the thread that moves is looked at when no news comes from it. */
#define LOOK_MS 1

/* How often views are looked for that the program has changed meanwhile. */
#define REST_TRIES 64

static uintptr_t addr_of(const struct swap_view *view)
{
	return view->state.mapping.start;
}

static size_t length_of(const struct swap_view *view)
{
	return view->state.mapping.end - view->state.mapping.start;
}

static int advise(const void *addr, size_t length, int advice)
{
	return syscall(SYS_madvise, addr, length, advice) ? -errno : 0;
}

/* What the shadow looks like in the view's place. */
static int set_place(const struct swap *swap, struct swap_view *view)
{
	struct mapping *place = &view->file.place;
	struct stat st;

	if (raw_stat(swap->shadow_fd, &st))
		return -errno;
	place->dev = st.st_dev;
	place->ino = st.st_ino;
	place->offset = fill_offset(swap, view);
	return 0;
}

/* The file's, which takes the place of the shadow. */
static int make_file_twin(const struct swap *swap, struct swap_view *view)
{
	int r = twin_make(TWIN_OF_FILE, swap->file_fd,
			  view->state.mapping.offset, &view->state,
			  &view->file);

	return r ? r : set_place(swap, view);
}

/* Nothing of it is seen by the program yet. */
static int make_twins(const struct swap *swap, struct swap_view *view)
{
	int r = make_file_twin(swap, view);

	if (!r)
		r = twin_make(TWIN_OF_MEMFD, swap->view_fd,
			      fill_offset(swap, view), &view->state,
			      &view->shadow);
	if (!r)
		r = advise(view->shadow.addr, length_of(view), MADV_DONTDUMP);
	return r;
}

/* What the shadow has by now. They have the lock of the mapping that they were
 * taken from, which counts: they go before that is locked again. */
static void drop_pages(struct swap_view *view)
{
	if (view->pages)
		raw_unmap(view->pages, length_of(view));
	view->pages = NULL;
}

static void drop_twins(const struct swap *swap)
{
	for (unsigned int i = 0; i < swap->count; i++) {
		struct swap_view *view = &swap->views[i];

		twin_drop(&view->shadow);
		twin_drop(&view->file);
		drop_pages(view);
	}
}

/*
 * What the program's page tables have of the file is put aside before the
 * shadow takes its place, to be filled from. A store that comes between finds
 * the file's page anew. Kernels before Linux 5.13 cannot: it is read then.
 */
static void keep_pages(struct swap_view *view)
{
	long addr =
		syscall(SYS_mremap, addr_of(view), length_of(view),
			length_of(view), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);

	if (addr == -1)
		return;
	view->pages = (void *)addr;
	advise(view->pages, length_of(view), MADV_DONTFORK);
}

static int trap_twin(struct trap *trap, struct swap_view *view)
{
	uintptr_t addr = (uintptr_t)view->shadow.addr;
	/* A child would see pages that aren't filled yet. */
	int r = advise(view->shadow.addr, length_of(view), MADV_DONTFORK);

	if (!r)
		r = trap_set(trap, addr, length_of(view));
	/* mlockall(MCL_FUTURE) has filled it with zeroes already. */
	return r ? r : trap_freeze(addr, length_of(view));
}

int swap_move(struct swap_view *view)
{
	return twin_move(&view->shadow);
}

int swap_move_told(const struct swap_ops *ops, struct trap *trap,
		   struct swap_view *view)
{
	bool is_told = false;
	int r;

	/*
	 * Looked at here, not by the other thread: a descriptor of /proc/self
	 * would be in the program's table.
	 */
	r = twin_is_due(&view->shadow);
	if (r <= 0)
		return r ? r : -EAGAIN;
	/* Else what is replaced is no file's. */
	if (view->file.addr)
		keep_pages(view);
	ops->move(ops->arg, view);
	for (;;) {
		uintptr_t addr;
		int news = trap_read(trap, LOOK_MS, &addr);

		/* Faults of views that were moved before: they wait. */
		if (news < 0)
			return news;
		if (news == TRAP_MOVED && addr == addr_of(view))
			is_told = true;
		r = ops->moved(ops->arg);
		if (r != -EINPROGRESS && (r || is_told))
			return r;
	}
}

/* Where the shadow is by now. A view that the program has changed is its own.
 */
static void put_files(const struct swap *swap)
{
	for (unsigned int i = 0; i < swap->count; i++) {
		struct swap_view *view = &swap->views[i];

		if (view->shadow.addr || !view->file.addr)
			continue;
		twin_put(&view->file);
		twin_lock(&view->file);
	}
}

/*
 * The program may have changed a view since it was looked at (mprotect(), a raw
 * mremap()). The trap goes with a mapping that is cut or moved, so nobody has
 * stored there since the flush.
 */
static void put_rest(const struct swap *swap)
{
	struct swap rest = *swap;

	for (int tries = 0; swap->ops->find_rest && tries < REST_TRIES;
	     tries++) {
		if (swap->ops->find_rest(swap->ops->arg, &rest.views,
					 &rest.count))
			return;
		if (!rest.count) {
			heap_put(rest.views);
			return;
		}
		for (unsigned int i = 0; i < rest.count; i++)
			make_file_twin(&rest, &rest.views[i]);
		put_files(&rest);
		drop_twins(&rest);
		heap_put(rest.views);
	}
}

/* The program's own, of which no more than the pages was put aside. */
static void lock_unmoved(const struct swap_view *view)
{
	if (view->shadow.addr && twin_is_due(&view->shadow) > 0)
		twin_lock(&view->shadow);
}

/* What shows the shadow when ours are gone is the program's. */
static void give_up(const struct swap *swap)
{
	swap->ops->let_go(swap->ops->arg);
	for (unsigned int i = 0; i < swap->count; i++) {
		if (!swap->views[i].pages)
			continue;
		drop_pages(&swap->views[i]);
		lock_unmoved(&swap->views[i]);
	}
	put_files(swap);
	for (unsigned int i = 0; i < swap->count; i++)
		twin_drop(&swap->views[i].shadow);
	put_rest(swap);
}

/* Before the trap is closed: until then nobody has seen an unfilled page. */
static void finish_views(const struct swap *swap)
{
	for (unsigned int i = 0; i < swap->count; i++) {
		struct swap_view *view = &swap->views[i];

		drop_pages(view);
		if (!mapping_has(&view->state, "dc"))
			advise((void *)addr_of(view), length_of(view),
			       MADV_DOFORK);
		twin_lock(&view->shadow);
	}
}

/* Nobody stores: what is moved is full. */
static int swap_in_still(const struct swap *swap, struct filling *filling)
{
	int r = fill_all(filling);

	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = twin_put(&swap->views[i].shadow);
	if (r > 0)
		r = -EAGAIN;
	if (r)
		give_up(swap);
	else
		finish_views(swap);
	return r;
}

static int swap_in_trapped(const struct swap *swap, struct filling *filling)
{
	struct trap *trap = &filling->trap;
	int r = trap_open(swap->uffd, trap);

	if (r)
		return r;
	filling->is_trapped = true;
	/* All of them before one is exposed. */
	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = trap_twin(trap, &swap->views[i]);
	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = swap_move_told(swap->ops, trap, &swap->views[i]);
	if (!r)
		r = swap_sleepers_check_and_wake(swap, SWAP_FILE);
	if (!r)
		r = fill_all(filling);
	if (r) {
		fill_take_back(filling);
		give_up(swap);
	} else {
		finish_views(swap);
	}
	trap_close(trap);
	return r;
}

static int refuse(int r, const char *what, const struct swap *swap)
{
	switch (r) {
	case -EBUSY:
		return reason_set(r,
				  "%s: another userfaultfd of this program "
				  "already watches a part of the range; "
				  "unregister that before",
				  what);
	case -ENOMEM:
		return reason_set(r,
				  "%s: no memory for %ju bytes in %u mappings; "
				  "or too many mappings: raise "
				  "/proc/sys/vm/max_map_count",
				  what, (uintmax_t)swap->extent->length,
				  swap->count);
	case -EAGAIN:
		return reason_set(r,
				  "%s: other threads map and unmap the file "
				  "all the time; do it while they don't",
				  what);
	case -EMFILE:
	case -ENFILE:
		return reason_set(r,
				  "%s: no descriptor is left to look at what "
				  "is mapped: raise RLIMIT_NOFILE (each piece "
				  "of a file that is registered takes one)",
				  what);
	case -EIO:
		return reason_set(r,
				  "%s: a part of it cannot be read (%s): the "
				  "kernel's log says where; write that part "
				  "anew, or replace the file",
				  what, strerrordesc_np(-r));
	default:
		return reason_set(r, "%s: %s", what, strerrordesc_np(-r));
	}
}

static int check_views(const struct swap *swap)
{
	int r = 0;

	for (unsigned int i = 0; i < swap->count; i++) {
		swap->views[i].shadow.addr = swap->views[i].file.addr = NULL;
		swap->views[i].pages = NULL;
	}
	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = twin_check(&swap->views[i].state);
	return r;
}

static int swap_in_filling(const struct swap *swap, struct filling *filling)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = make_twins(swap, &swap->views[i]);
	if (!r)
		r = swap->is_still ? swap_in_still(swap, filling)
				   : swap_in_trapped(swap, filling);
	/* Those who sleep at what had been filled before it failed. */
	if (r)
		swap_sleepers_wake(swap, SWAP_SHADOW, SLEEPERS_FREE);
	drop_twins(swap);
	return r;
}

int swap_in(const struct swap *swap)
{
	const char *what = "no shadow can take the place of the file";
	int saved_errno = errno, r = check_views(swap);
	struct filling filling;

	if (!r)
		r = swap_sleepers_check(swap);
	if (!r) {
		r = fill_init(&filling, swap);
		if (!r)
			r = swap_in_filling(swap, &filling);
		fill_done(&filling);
		/* trap_open() has said it better. */
		if (r && r != -EPERM && r != -EOPNOTSUPP && r != -ENOSYS)
			refuse(r, what, swap);
	}
	errno = saved_errno;
	return r;
}

/*
 * What takes pages away must not meet what the program has mapped there since
 * it was looked at: -ESTALE.
 */
static int freeze_view(struct trap *trap, const struct swap_view *view)
{
	int r = trap_set(trap, addr_of(view), length_of(view));
	int due = twin_is_due(&view->file);

	if (due <= 0)
		return due ? due : -ESTALE;
	return r ? r : trap_freeze(addr_of(view), length_of(view));
}

/* Everybody waits who touches a view. */
static int freeze(const struct swap *swap, struct trap *trap)
{
	int r = 0;

	for (unsigned int i = 0; !r && i < swap->count; i++)
		r = freeze_view(trap, &swap->views[i]);
	return r;
}

static int swap_out_trapped(const struct swap *swap, int (*flush)(void *arg),
			    void *arg)
{
	struct trap trap;
	int r = swap->is_still ? 0 : trap_open(swap->uffd, &trap);

	if (r)
		return r;
	if (!swap->is_still)
		r = freeze(swap, &trap);
	if (r)
		refuse(r, "the shadow cannot be held still", swap);
	else
		r = swap_sleepers_check(swap);
	if (!r)
		r = flush(arg);
	if (!r)
		r = swap->ops->let_go(swap->ops->arg);
	if (!r) {
		put_files(swap);
		put_rest(swap);
		swap_sleepers_wake(swap, SWAP_SHADOW, SLEEPERS_TRAPPED);
	}
	if (!swap->is_still)
		trap_close(&trap);
	if (!r)
		swap_sleepers_wake(swap, SWAP_SHADOW, SLEEPERS_FREE);
	return r;
}

int swap_out(const struct swap *swap, int (*flush)(void *arg), void *arg)
{
	int saved_errno = errno, r = check_views(swap);

	for (unsigned int i = 0; !r && i < swap->count; i++) {
		r = make_file_twin(swap, &swap->views[i]);
		if (r)
			refuse(r, "the file cannot be mapped back", swap);
	}
	if (!r)
		r = swap_out_trapped(swap, flush, arg);
	drop_twins(swap);
	errno = saved_errno;
	return r;
}
