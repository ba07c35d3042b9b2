/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages to a keeper that found no room: unsent.h. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "raw.h"
#include "unsent.h"

struct unsent_message {
	struct unsent_message *next;
	struct keeper_message message;
	unsigned int count;
	int fds[KEEPER_MESSAGE_FDS];
};

int unsent_try(int socket, const struct keeper_message *message, const int *fds,
	       unsigned int count)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(KEEPER_MESSAGE_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)message, sizeof(*message)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	}
	while (raw_sendmsg(socket, &msg, MSG_DONTWAIT) < 0)
		if (errno != EINTR)
			return errno == ECONNRESET || errno == EBADF ? -EPIPE
								     : -errno;
	return 0;
}

static void close_all(struct unsent_message *one)
{
	while (one->count)
		raw_close(one->fds[--one->count]);
}

int unsent_keep(struct unsent *unsent, const struct keeper_message *message,
		const int *fds, unsigned int count)
{
	struct unsent_message *one = heap_get(1, sizeof(*one));
	int r;

	if (!one)
		return -ENOMEM;
	one->message = *message;
	while (one->count < count) {
		int fd = (int)syscall(SYS_fcntl, fds[one->count],
				      F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			r = -errno;
			close_all(one);
			heap_put(one);
			return r;
		}
		one->fds[one->count++] = fd;
	}
	if (unsent->first)
		unsent->last->next = one;
	else
		unsent->first = one;
	unsent->last = one;
	return 0;
}

static void drop_first(struct unsent *unsent)
{
	struct unsent_message *one = unsent->first;

	unsent->first = one->next;
	close_all(one);
	heap_put(one);
}

void unsent_drop(struct unsent *unsent)
{
	while (unsent->first)
		drop_first(unsent);
}

static bool may_be_tried_again(int error)
{
	return error == -ETOOMANYREFS || error == -ENOBUFS || error == -ENOMEM;
}

/*
 * What may not be sent along is left out, of which the keeper says that it did
 * not come. Where it is not the socket that has no room, poll(2) does not wait
 * for it.
 */
int unsent_send(struct unsent *unsent, int socket)
{
	while (unsent->first) {
		struct unsent_message *one = unsent->first;
		int r = unsent_try(socket, &one->message, one->fds, one->count);

		if (!r) {
			drop_first(unsent);
		} else if (r == -EPIPE) {
			unsent_drop(unsent);
			return r;
		} else if (r != -EAGAIN && one->count &&
			   !may_be_tried_again(r)) {
			close_all(one);
		} else {
			if (r != -EAGAIN)
				raw_poll(NULL, 0, 1);
			return -EAGAIN;
		}
	}
	return 0;
}
