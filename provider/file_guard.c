/* SPDX-License-Identifier: BSD-2-Clause */
/* Announces the program's calls on leased files: file_guard.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file_guard.h"
#include "leases.h"
#include "own_map.h"
#include "log.h"
#include "self_maps.h"
#include "shadows.h"
#include "window/window.h"

/* The engine, if what st says is leased. */
static struct lease_engine *leased(const struct stat *st)
{
	struct lease_engine *engine = leases_engine();

	if (!engine || !S_ISREG(st->st_mode) ||
	    !own_is_leased(engine, st->st_dev, st->st_ino))
		return NULL;
	return engine;
}

static bool announce(struct file_guard *guard, const struct stat *st,
		     enum keeper_own kind)
{
	struct lease_engine *engine = leased(st);

	if (!engine)
		return false;
	guard->count = 1;
	guard->is_punch = false;
	own_begin(engine, st->st_dev, st->st_ino, kind, &guard->own[0]);
	if (kind == KEEPER_OWN_CHANGE)
		pinned_own_begin(&guard->pinned[0], st->st_dev, st->st_ino);
	return true;
}

/* O_CREAT | O_EXCL opens nothing that is there, O_DIRECTORY no file. */
static bool may_break(int flags)
{
	return !(flags & O_PATH) && (flags & O_TMPFILE) != O_TMPFILE &&
	       !(flags & O_DIRECTORY) &&
	       (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

bool guard_opening(struct file_guard *guard, int dir, const char *path,
		   int flags)
{
	int saved_errno = errno;
	struct stat st;
	long r;

	if (!may_break(flags))
		return false;
	r = syscall(SYS_newfstatat, dir, path, &st,
		    flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0);
	errno = saved_errno;
	if (r || !announce(guard, &st,
			   (flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC)
				   ? KEEPER_OWN_OPEN_READ
				   : KEEPER_OWN_OPEN))
		return false;
	if (flags & O_TRUNC)
		guard_resized(guard);
	return true;
}

bool guard_changing(struct file_guard *guard, int fd)
{
	int saved_errno = errno;
	struct stat st;
	long r = syscall(SYS_fstat, fd, &st);

	errno = saved_errno;
	return !r && announce(guard, &st, KEEPER_OWN_CHANGE);
}

struct punch {
	struct file_guard *guard;
	struct lease_engine *engine;
	uintptr_t start;
	uintptr_t end;
};

/* Its own call's, or where the call before it ends. */
static int punch_shadow(struct punch *punch, const struct self_map *map)
{
	struct file_guard *guard = punch->guard;

	if (map->start > punch->start) {
		guard->length = map->start - punch->start;
		return 1;
	}
	if (map->end < punch->end)
		guard->length = map->end - punch->start;
	guard->is_shadow = true;
	guard->count = 1;
	own_begin(punch->engine, map->dev, map->ino, KEEPER_OWN_CHANGE,
		  &guard->own[0]);
	pinned_own_begin(&guard->pinned[0], map->dev, map->ino);
	return 1;
}

/* In the order of addresses. */
static int punch_one(const struct self_map *map, void *arg)
{
	struct punch *punch = arg;
	struct file_guard *guard = punch->guard;

	if (!map->is_shared)
		return 0;
	if (shadows_has_memfd(punch->engine, map->dev, map->ino))
		return punch_shadow(punch, map);
	if (!own_is_leased(punch->engine, map->dev, map->ino))
		return 0;
	for (unsigned int i = 0; i < guard->count; i++)
		if (guard->own[i].dev == map->dev &&
		    guard->own[i].ino == map->ino)
			return 0;
	if (guard->count == FILE_GUARD_MAX) {
		guard->length = map->start - punch->start;
		return 1;
	}
	own_begin(punch->engine, map->dev, map->ino, KEEPER_OWN_CHANGE,
		  &guard->own[guard->count]);
	pinned_own_begin(&guard->pinned[guard->count++], map->dev, map->ino);
	return 0;
}

/* fallocate() may have, and an open that cuts off. */
static bool may_have_moved_end(const struct file_guard *guard,
			       const struct own *own)
{
	if (own->effect == OWN_NOTHING)
		return own->kind == KEEPER_OWN_CHANGE && !guard->is_punch;
	return own->effect != OWN_ZEROED;
}

/*
 * In turn, the first last: it has the program's own signal mask. Windows are
 * waited for when none of the files is in the way of anybody any more.
 */
void guard_end(struct file_guard *guard)
{
	unsigned int count = guard->count;

	while (guard->count) {
		struct own *own = &guard->own[--guard->count];

		if (own->kind == KEEPER_OWN_CHANGE)
			pinned_own_end(&guard->pinned[guard->count]);
		own_end(own);
	}
	for (unsigned int i = 0; i < count; i++) {
		const struct own *own = &guard->own[i];

		if (may_have_moved_end(guard, own))
			window_own_end(own->dev, own->ino);
	}
}

static int is_shadow(const struct self_map *map, void *arg)
{
	const struct punch *punch = arg;

	return map->is_shared &&
	       shadows_has_memfd(punch->engine, map->dev, map->ino);
}

/*
 * A shadow may have taken the place of a file before its change was announced;
 * none does after that.
 */
static bool is_stale(struct punch *punch)
{
	const struct file_guard *guard = punch->guard;

	return guard->count && !guard->is_shadow &&
	       self_maps_each(punch->start, punch->start + guard->length,
			      is_shadow, punch) > 0;
}

bool guard_punching(struct file_guard *guard, void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr;
	struct punch punch = {guard, leases_engine(), start, start + length};
	int saved_errno = errno;
	unsigned int look;

	guard->count = 0;
	guard->is_punch = true;
	do {
		guard_end(guard);
		guard->is_shadow = false;
		guard->length = length;
		/* one that wraps around is refused by the kernel */
		if (!punch.engine || start + length < start)
			break;
		look = own_map_look(punch.engine);
		self_maps_each(start, start + length, punch_one, &punch);
	} while (is_stale(&punch) ||
		 (!guard->count && own_map_has_moved(punch.engine, look)));
	errno = saved_errno;
	return guard->count > 0;
}

int guard_punch_shadow(struct file_guard *guard, void *addr, size_t length,
		       size_t *ret_length)
{
	int r = own_punch(&guard->own[0], addr, length, ret_length);

	return r == -ESTALE ? -1 : -r;
}

bool guard_shifting(const struct file_guard *guard)
{
	const struct own *own = &guard->own[0];

	if (!shadows_has_file(own->engine, own->dev, own->ino))
		return false;
	log_sentence(LOG_WARN,
		     "fallocate: no range can be collapsed or inserted in a "
		     "file of which memory is registered: peers would write "
		     "to other places of the file; deregister it before");
	return true;
}

/* Does the kernel have more to say than by ftruncate()? */
static bool is_plain(const struct stat *st, int64_t length)
{
	struct rlimit limit;

	/* the same size: no new times; beyond the limit: SIGXFSZ to the caller
	 */
	return length != st->st_size && !getrlimit(RLIMIT_FSIZE, &limit) &&
	       (limit.rlim_cur == RLIM_INFINITY ||
		(uint64_t)length <= limit.rlim_cur);
}

int guard_truncate(struct file_guard *guard, const char *path, int64_t length,
		   int *ret_error)
{
	int saved_errno = errno, r = -EOPNOTSUPP;
	struct stat st;
	bool may_not;

	may_not = length < 0 ||
		  syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0) ||
		  !leased(&st) ||
		  syscall(SYS_faccessat2, AT_FDCWD, path, W_OK, AT_EACCESS);
	errno = saved_errno;
	if (may_not)
		return 0;
	if (is_plain(&st, length) && announce(guard, &st, KEEPER_OWN_CHANGE)) {
		r = own_truncate(&guard->own[0], length);
		guard_end(guard);
	}
	errno = saved_errno;
	if (r == -EOPNOTSUPP) {
		if (!announce(guard, &st, KEEPER_OWN_OPEN))
			return 0;
		guard_resized(guard);
		return -1;
	}
	*ret_error = -r;
	return 1;
}
