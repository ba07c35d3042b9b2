/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program does with a region that it has: daxmr_flush(),
 * daxmr_resize().
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api_region.h"
#include "file_guard.h"
#include "log.h"
#include "raw.h"
#include "reason.h"
#include "stage.h"

#define EXPORT __attribute__((visibility("default")))

static int check_range(const struct daxmr_region *region, size_t offset,
		       size_t length, unsigned int flags)
{
	if (offset <= region->length && length <= region->length - offset &&
	    !(flags & ~DAXMR_FLUSH_NOWAIT))
		return 0;
	log_sentence(LOG_WARN,
		     "daxmr_flush of %zu bytes at offset %zu, flags %#x: the "
		     "region has %zu bytes, and the only flag is "
		     "DAXMR_FLUSH_NOWAIT",
		     length, offset, flags, region->length);
	return -EINVAL;
}

/* Past the preload: the pages are the file's own. */
static int flush_pages(const struct daxmr_region *region, size_t offset,
		       size_t length)
{
	uintptr_t start = (uintptr_t)region->call.addr + offset,
		  page = (uintptr_t)sysconf(_SC_PAGESIZE),
		  first = start / page * page;

	if (!length ||
	    !syscall(SYS_msync, first, start + length - first, MS_SYNC))
		return 0;
	return reason_set(
		-errno, "msync of %zu bytes at offset %zu of region %s: %s",
		length, offset, api_name(region), strerrordesc_np(errno));
}

/* All of it that is staged. */
static int flush_soon(struct daxmr_region *region, uint64_t calls)
{
	uint32_t ticket = lease_flush_ticket();

	api_flushes_expect(&region->flushes, ticket, calls);
	return stage_flush_soon(region->mr.stage, ticket);
}

/* What is not staged. */
static int sync_now(const struct daxmr_region *region, size_t offset,
		    size_t length)
{
	if (region->mr.strategy != STRATEGY_ODP &&
	    region->mr.strategy != STRATEGY_PINNED)
		return reason_set(-EOPNOTSUPP,
				  "region %s is registered as it is "
				  "(passthrough): daxmr does not know what "
				  "makes that memory durable",
				  api_name(region));
	return flush_pages(region, offset, length);
}

static int flush(struct daxmr_region *region, size_t offset, size_t length,
		 bool is_now)
{
	int r;

	if (region->mr.stage && is_now)
		return stage_flush(region->mr.stage,
				   (char *)region->call.addr + offset, length);
	if (region->mr.stage)
		return flush_soon(region, 1);
	r = sync_now(region, offset, length);
	if (is_now || r == -EOPNOTSUPP)
		return r;
	api_flushed(region, 1, r);
	return 0;
}

/* Where nothing is heard of its files they would have no answer. */
void api_flush_again(struct daxmr_region *region, uint64_t calls)
{
	int r;

	if (!calls)
		return;
	if (!region->mr.stage)
		r = sync_now(region, 0, region->length);
	else if (region->ears.count)
		r = flush_soon(region, calls);
	else
		r = -ECANCELED;
	if (r || !region->mr.stage)
		api_flushed(region, calls, r);
}

EXPORT int daxmr_flush(struct daxmr_region *region, size_t offset,
		       size_t length, unsigned int flags)
{
	struct api_call call;
	int r;

	api_enter(&call);
	r = event_check_pid(region->pid, "region");
	if (!r)
		r = check_range(region, offset, length, flags);
	if (!r) {
		r = flush(region, offset, length,
			  !(flags & DAXMR_FLUSH_NOWAIT));
		if (r)
			log_sentence(LOG_WARN, "%s", reason_text());
	}
	api_leave(&call);
	return r;
}

/* Announced, so that it is not taken for a change by others. */
static int set_size(int fd, uint64_t size)
{
	struct file_guard guard;
	bool is_announced = guard_changing(&guard, fd);
	int r = 0;

	if (is_announced)
		guard_resized(&guard);
	if (syscall(SYS_ftruncate, fd, size))
		r = -errno;
	if (is_announced)
		guard_end(&guard);
	if (r)
		log_sentence(LOG_WARN,
			     "the file of descriptor %d cannot get %llu "
			     "bytes: %s",
			     fd, (unsigned long long)size, strerrordesc_np(-r));
	return r;
}

/* The new one is there before the old one goes. */
static int move(struct daxmr_region *region, size_t length)
{
	struct api_mr mr;
	int r = api_register(region, length, &mr);

	if (r)
		return r;
	r = api_ears_open(region, &region->new_ears, &mr);
	if (r) {
		log_sentence(LOG_WARN, "region %s cannot be resized: %s",
			     api_name(region), reason_text());
		region_deregister(region->real, mr.mr);
		return r;
	}
	api_ears_close(region, &region->ears);
	r = -region_deregister(region->real, region->mr.mr);
	if (r) {
		log_sentence(LOG_WARN,
			     "region %s cannot be resized: its MR is in use, "
			     "ibv_dereg_mr says: %s",
			     api_name(region), strerrordesc_np(-r));
		api_stay(region);
		api_ears_close(region, &region->new_ears);
		region_deregister(region->real, mr.mr);
		return r;
	}
	api_ears_move(region, &region->new_ears, &region->ears);
	region->mr = mr;
	region->length = length;
	return 0;
}

static int resize(struct daxmr_region *region, int fd, uint64_t file_size,
		  size_t length)
{
	struct stat st = {0};
	bool grows;
	int r = 0;

	if (fd >= 0 && raw_stat(fd, &st)) {
		r = -errno;
		log_sentence(LOG_WARN, "descriptor %d: %s", fd,
			     strerrordesc_np(-r));
		return r;
	}
	grows = fd >= 0 && file_size > (uint64_t)st.st_size;
	if (grows)
		r = set_size(fd, file_size);
	if (!r && length != region->length) {
		uint64_t calls = api_flushes_forget(&region->flushes);

		r = move(region, length);
		api_flush_again(region, calls);
	}
	if (!r && fd >= 0 && file_size < (uint64_t)st.st_size)
		r = set_size(fd, file_size);
	return r;
}

EXPORT int daxmr_resize(struct daxmr_region *region, int fd, uint64_t file_size,
			size_t length)
{
	struct api_call call;
	int r;

	api_enter(&call);
	r = event_check_pid(region->pid, "region");
	if (!r && (!length || file_size > INT64_MAX)) {
		log_sentence(LOG_WARN,
			     "daxmr_resize to %zu bytes, the file to %llu: a "
			     "region has at least one, and a file fewer",
			     length, (unsigned long long)file_size);
		r = -EINVAL;
	}
	if (!r)
		r = resize(region, fd, file_size, length);
	api_leave(&call);
	return r;
}
