/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_daemon.h"
#include "unit.h"

void daemon_open(struct daemon_file *file)
{
	const char *dir = getenv("DAXMR_TEST_DAX_DIR");
	char page[DAEMON_PAGE];

	memset(file, 0, sizeof(*file));
	snprintf(file->path, sizeof(file->path), "%s/api-test-XXXXXX",
		 dir ? dir : ".");
	file->fd = mkostemp(file->path, O_CLOEXEC);
	assert_true(file->fd >= 0);
	for (size_t i = 0; i < DAEMON_SIZE / DAEMON_PAGE; i++) {
		memset(page, 'a' + (int)i, sizeof(page));
		assert_int_equal(write(file->fd, page, sizeof(page)),
				 sizeof(page));
	}
	file->addr = mmap(NULL, DAEMON_MAPPED, PROT_READ | PROT_WRITE,
			  MAP_SHARED, file->fd, 0);
	assert_ptr_not_equal(file->addr, MAP_FAILED);
	assert_int_equal(daxmr_channel_open(&file->channel), 0);
}

void daemon_close(struct daemon_file *file)
{
	if (file->region)
		assert_int_equal(daxmr_dereg_mr(file->region), 0);
	assert_int_equal(daxmr_channel_close(file->channel), 0);
	munmap(file->addr, DAEMON_MAPPED);
	close(file->fd);
	unlink(file->path);
}

void daemon_register(struct daemon_file *file, struct ibv_pd *pd,
		     struct daxmr_options options)
{
	int r;

	options.size = sizeof(options);
	options.channel = file->channel;
	options.data = file;
	r = daxmr_reg_mr(pd, file->addr, DAEMON_SIZE,
			 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				 IBV_ACCESS_REMOTE_READ,
			 &options, &file->region);
	if (r)
		fail_msg("%d: %s", r, daxmr_errormsg());
}

struct daxmr_event *daemon_expect_out(const struct daemon_file *file,
				      enum daxmr_event_kind kind)
{
	struct daxmr_event *event;
	int r = daxmr_event_get(file->channel, DAEMON_WAIT_MS, &event);

	if (r)
		fail_msg("%d instead of event %s: %s", r,
			 daxmr_event_name(kind), daxmr_errormsg());
	if (event->kind != kind)
		fail_msg("event %s instead of %s, blocks %llu, error %d",
			 daxmr_event_name(event->kind), daxmr_event_name(kind),
			 (unsigned long long)event->blocks, event->error);
	assert_ptr_equal(event->region, file->region);
	assert_ptr_equal(event->data, file);
	return event;
}

struct daxmr_event daemon_expect(const struct daemon_file *file,
				 enum daxmr_event_kind kind)
{
	struct daxmr_event *event = daemon_expect_out(file, kind),
			   copy = *event;

	assert_int_equal(daxmr_event_ack(event), 0);
	return copy;
}

void daemon_expect_none(const struct daemon_file *file)
{
	struct daxmr_event *event;

	assert_int_equal(daxmr_event_get(file->channel, 0, &event), -EAGAIN);
}

/* One order at a time, answered by one byte. */
struct order {
	char what;
	char byte;
	off_t offset;
};

static void obey(const char *path, int flags, int socket)
{
	struct order order;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
	char answer = fd < 0 ? '-' : '+';

	while (send(socket, &answer, 1, MSG_NOSIGNAL) == 1 &&
	       recv(socket, &order, sizeof(order), 0) == sizeof(order)) {
		bool is_done = false;

		answer = order.byte;
		if (order.what == 'r')
			is_done = pread(fd, &answer, 1, order.offset) == 1;
		else if (order.what == 'w')
			is_done = pwrite(fd, &order.byte, 1, order.offset) == 1;
		else if (order.what == 't')
			is_done = ftruncate(fd, order.offset) == 0;
		if (!is_done)
			_exit(1);
	}
	_exit(answer == '-');
}

void outsider_start(struct outsider *outsider, const struct daemon_file *file,
		    int flags)
{
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	outsider->told = pair[0];
	outsider->pid = fork();
	assert_true(outsider->pid >= 0);
	if (!outsider->pid) {
		close(pair[0]);
		/* it has no business with its parent's */
		munmap(file->addr, DAEMON_MAPPED);
		close(file->fd);
		obey(file->path, flags, pair[1]);
	}
	close(pair[1]);
}

static char hear(const struct outsider *outsider)
{
	char answer;

	assert_int_equal(recv(outsider->told, &answer, 1, 0), 1);
	return answer;
}

void outsider_wait_open(const struct outsider *outsider)
{
	assert_int_equal(hear(outsider), '+');
}

static char tell(const struct outsider *outsider, char what, off_t offset,
		 char byte)
{
	const struct order order = {what, byte, offset};

	assert_int_equal(send(outsider->told, &order, sizeof(order), 0),
			 sizeof(order));
	return hear(outsider);
}

char outsider_read(const struct outsider *outsider, off_t offset)
{
	return tell(outsider, 'r', offset, 0);
}

void outsider_write(const struct outsider *outsider, off_t offset, char byte)
{
	tell(outsider, 'w', offset, byte);
}

void outsider_truncate(const struct outsider *outsider, off_t size)
{
	tell(outsider, 't', size, 0);
}

void outsider_end(struct outsider *outsider)
{
	int status;

	close(outsider->told);
	assert_int_equal(waitpid(outsider->pid, &status, 0), outsider->pid);
	assert_int_equal(status, 0);
}
