/* SPDX-License-Identifier: BSD-2-Clause */
/* Mappings of files with shadows: file_map.h. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file_map.h"
#include "leases.h"
#include "log.h"
#include "own_map.h"
#include "raw.h"
#include "self_maps.h"
#include "shadows.h"

/* False: it has none. */
static bool look(const struct file_map *map, struct lease_engine **engine,
		 struct own_mapping *ret)
{
	int saved_errno = errno;
	struct stat st;
	long r;

	*engine = leases_engine();
	if (!*engine || map->fd < 0 || map->flags & MAP_ANONYMOUS)
		return false;
	r = syscall(SYS_fstat, map->fd, &st);
	errno = saved_errno;
	if (r || !S_ISREG(st.st_mode) ||
	    !shadows_has_file(*engine, st.st_dev, st.st_ino))
		return false;
	*ret = (struct own_mapping){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.addr = map->addr,
		.length = map->length,
		.offset = (uint64_t)map->offset,
		.protection = map->protection,
		.flags = map->flags,
	};
	return true;
}

static int error_of(int r)
{
	return r == -EAGAIN ? EAGAIN : ENOMEM;
}

int map_made(const struct file_map *map)
{
	struct lease_engine *engine;
	struct own_mapping mapping;
	int saved_errno = errno, r;

	if (!look(map, &engine, &mapping))
		return 0;
	r = own_map_new(engine, &mapping);
	/* a child that was forked this moment has what its parent had */
	if (r && r != -ESRCH) {
		raw_unmap(map->addr, map->length);
		log_sentence(LOG_WARN,
			     "mmap of %zu bytes of a registered file: what "
			     "peers wrote cannot be shown there (%s); raise "
			     "/proc/sys/vm/max_map_count or RLIMIT_MEMLOCK",
			     map->length, strerrordesc_np(-r));
		errno = saved_errno;
		return error_of(r);
	}
	errno = saved_errno;
	return 0;
}

/* Would the kernel map that at all? */
static int try_elsewhere(const struct file_map *map)
{
	int flags = map->flags & ~(MAP_FIXED | MAP_LOCKED | MAP_POPULATE);
	void *at = (void *)syscall(SYS_mmap, NULL, map->length, map->protection,
				   flags, map->fd, map->offset);

	if (at == MAP_FAILED)
		return errno;
	raw_unmap(at, map->length);
	return 0;
}

void map_leaving(void)
{
	struct lease_engine *engine = leases_engine();
	int saved_errno = errno;

	if (engine)
		own_map_wait(engine);
	errno = saved_errno;
}

int map_over(const struct file_map *map)
{
	struct lease_engine *engine;
	struct own_mapping mapping;
	int saved_errno = errno, r;

	/* where nothing can lie the kernel says what is wrong */
	if ((uintptr_t)map->addr % 4096 || !look(map, &engine, &mapping)) {
		map_leaving();
		return -1;
	}
	r = try_elsewhere(map);
	if (!r) {
		r = own_map_over(engine, &mapping);
		if (r == -ENOENT || r == -ESRCH)
			r = -1;
		else if (r)
			r = error_of(r);
	}
	errno = saved_errno;
	return r;
}

static int is_concerned(const struct self_map *map, void *arg)
{
	struct lease_engine *engine = arg;

	return shadows_has_memfd(engine, map->dev, map->ino) ||
	       shadows_has_file(engine, map->dev, map->ino);
}

/* Is there a shadow in the range, or the file of one? */
static bool has_concerned(struct lease_engine *engine, uintptr_t start,
			  uintptr_t end)
{
	unsigned int look;
	int r;

	do {
		look = own_map_look(engine);
		r = self_maps_each(start, end, is_concerned, engine);
	} while (!r && own_map_has_moved(engine, look));
	return r > 0;
}

int map_moved(void *addr, size_t length)
{
	struct lease_engine *engine = leases_engine();
	int saved_errno = errno, r = 0;

	if (engine &&
	    has_concerned(engine, (uintptr_t)addr, (uintptr_t)addr + length))
		r = own_map_moved(engine, addr, length);
	if (r && r != -ESRCH)
		raw_unmap(addr, length);
	errno = saved_errno;
	return r && r != -ESRCH ? error_of(r) : 0;
}

bool map_advise(void *addr, size_t length, int advice, int *ret_error)
{
	struct lease_engine *engine = leases_engine();
	uintptr_t start = (uintptr_t)addr, end = start + length;
	int saved_errno = errno, r;

	if (!engine || end <= start || start % 4096 ||
	    !has_concerned(engine, start, end)) {
		errno = saved_errno;
		return false;
	}
	r = own_map_advise(engine, addr, length, advice == MADV_DONTDUMP);
	errno = saved_errno;
	*ret_error = -r;
	return r != -ESRCH;
}

bool map_move(const struct own_move *move, void **ret, int *ret_error)
{
	struct lease_engine *engine = leases_engine();
	uintptr_t start = (uintptr_t)move->old;
	uintptr_t end = start + (move->old_size ? move->old_size : 1);
	int saved_errno = errno, r;

	if (!engine || end < start || !has_concerned(engine, start, end)) {
		errno = saved_errno;
		return false;
	}
	r = own_map_move(engine, move, ret);
	errno = saved_errno;
	*ret_error = -r;
	return r != -ESRCH;
}
