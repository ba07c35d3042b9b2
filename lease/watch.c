/* SPDX-License-Identifier: BSD-2-Clause */
/* inotify: watch.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "watch.h"

#define ROOM_FOR_ONE (sizeof(struct inotify_event) + NAME_MAX + 1)

static struct watch **bucket_of(struct watches *watches, int wd)
{
	return &watches->by_wd[(unsigned int)wd % WATCH_BUCKETS];
}

static struct watch *find(struct watches *watches, int wd)
{
	struct watch *watch = *bucket_of(watches, wd);

	while (watch && watch->wd != wd)
		watch = watch->next;
	return watch;
}

void watches_init(struct watches *watches)
{
	watches->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	watches->error = watches->inotify < 0 ? -errno : 0;
}

int watch_set(struct watches *watches, struct watch *watch, int fd,
	      uint32_t mask)
{
	char path[64];
	int wd;

	if (watch->wd >= 0 && watch->mask == mask)
		return 0;
	if (watches->inotify < 0)
		return watches->error;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(watches->inotify, path, mask);
	if (wd < 0)
		return -errno;
	watch->mask = mask;
	if (watch->wd < 0) {
		watch->wd = wd;
		watch->next = *bucket_of(watches, wd);
		*bucket_of(watches, wd) = watch;
	}
	return 0;
}

void watch_remove(struct watches *watches, struct watch *watch)
{
	struct watch **at = bucket_of(watches, watch->wd);

	if (watch->wd < 0)
		return;
	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	inotify_rm_watch(watches->inotify, watch->wd);
	watch->wd = -1;
}

void watches_read(struct watches *watches, watch_fn *fn)
{
	char room[4096]
		__attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	if (watches->inotify < 0)
		return;
	/* What leaves room for one more is all there is. */
	do {
		n = read(watches->inotify, room, sizeof(room));
		for (char *at = room; at < room + n;) {
			const struct inotify_event *event = (const void *)at;
			struct watch *watch = find(watches, event->wd);

			if (watch)
				fn(watch, event->mask);
			watches->is_news_lost |=
				!!(event->mask & IN_Q_OVERFLOW);
			at += sizeof(*event) + event->len;
		}
	} while (n > (ssize_t)(sizeof(room) - ROOM_FOR_ONE));
}

void watches_heard(struct watches *watches, int64_t now_ns)
{
	watches->heard_ns = now_ns;
}

int watches_wait(const struct watches *watches, int64_t now_ns, int *timeout_ms)
{
	int64_t rest_ns = watches->heard_ns + WATCH_PACE_NS - now_ns;
	int rest_ms = (int)((rest_ns + 999999) / 1000000);

	if (!watches->heard_ns || rest_ns <= 0)
		return watches->inotify;
	if (*timeout_ms < 0 || *timeout_ms > rest_ms)
		*timeout_ms = rest_ms;
	return -1;
}
