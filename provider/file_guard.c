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
#include "self_maps.h"

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
	own_begin(engine, st->st_dev, st->st_ino, kind, &guard->own[0]);
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
	return !r &&
	       announce(guard, &st,
			(flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC)
				? KEEPER_OWN_OPEN_READ
				: KEEPER_OWN_OPEN);
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
};

/* In the order of addresses. */
static int punch_one(const struct self_map *map, void *arg)
{
	struct punch *punch = arg;
	struct file_guard *guard = punch->guard;

	if (!map->is_shared ||
	    !own_is_leased(punch->engine, map->dev, map->ino))
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
		  &guard->own[guard->count++]);
	return 0;
}

bool guard_punching(struct file_guard *guard, void *addr, size_t length)
{
	uintptr_t start = (uintptr_t)addr;
	struct punch punch = {guard, leases_engine(), start};
	int saved_errno = errno;

	guard->count = 0;
	guard->length = length;
	/* one that wraps around is refused by the kernel */
	if (punch.engine && start + length >= start)
		self_maps_each(start, start + length, punch_one, &punch);
	errno = saved_errno;
	return guard->count > 0;
}

/* In turn, the first last: it has the program's own signal mask. */
void guard_end(struct file_guard *guard)
{
	while (guard->count)
		own_end(&guard->own[--guard->count]);
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
	if (r == -EOPNOTSUPP)
		return announce(guard, &st, KEEPER_OWN_OPEN) ? -1 : 0;
	*ret_error = -r;
	return 1;
}
