/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A keeper that reads nothing: what it is told finds no room in its socket any
 * more, and nobody waits for that. When it reads again it hears all of it, in
 * order, with the descriptors. The keeper is this test.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper.h"
#include "lease_file.h"
#include "unit.h"

/* Many times what a socket takes. */
#define MESSAGES 4000U
/* Descriptors go with each of so many. */
#define EACH 100U

static struct keeper keeper;
static int keepers_end;
static unsigned int fds_before;

static int set_up(void **state)
{
	int pair[2];

	(void)state;
	fds_before = process_fds(getpid());
	assert_int_equal(keeper_init(&keeper), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	keeper.socket = pair[0];
	keepers_end = pair[1];
	return 0;
}

/* Whatever was on its way: nothing of it stays open. */
static int tear_down(void **state)
{
	(void)state;
	keeper_done(&keeper);
	if (keepers_end >= 0)
		close(keepers_end);
	assert_int_equal(process_fds(getpid()), fds_before);
	return 0;
}

/* Each of a file of its own, which nobody else has open then. */
static int attach(uint32_t number)
{
	struct keeper_extent extent = {.id = 1, .extent = number};
	int r;

	extent.shadow_fd = memfd_create("shadow", MFD_CLOEXEC);
	extent.page.fd = memfd_create("page", MFD_CLOEXEC);
	assert_true(extent.shadow_fd >= 0 && extent.page.fd >= 0);
	assert_int_equal(ftruncate(extent.shadow_fd, number), 0);
	assert_int_equal(ftruncate(extent.page.fd, number + 1), 0);
	r = keeper_attach(&keeper, &extent);
	close(extent.shadow_fd);
	close(extent.page.fd);
	return r;
}

static int say(uint32_t number)
{
	return number % EACH ? keeper_flush(&keeper, 1, number)
			     : attach(number);
}

static void say_all(void)
{
	for (uint32_t i = 1; i <= MESSAGES; i++)
		assert_int_equal(say(i), 0);
}

static void check_size(int fd, off_t size)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	close(fd);
}

/* What the keeper reads next; false: nothing is there. */
static bool hear(struct keeper_message *ret)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(KEEPER_MESSAGE_FDS * sizeof(int))];
	} control;
	struct iovec iov = {ret, sizeof(*ret)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(keepers_end, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header;
	int fds[KEEPER_MESSAGE_FDS];

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return false;
	}
	assert_int_equal(n, sizeof(*ret));
	header = CMSG_FIRSTHDR(&msg);
	assert_int_equal(ret->kind, header ? KEEPER_ATTACH : KEEPER_FLUSH);
	if (!header)
		return true;
	assert_int_equal(header->cmsg_len, CMSG_LEN(sizeof(fds)));
	memcpy(fds, CMSG_DATA(header), sizeof(fds));
	check_size(fds[0], ret->extent.id);
	check_size(fds[1], ret->extent.id + 1);
	return true;
}

static void keep_hearing(uint32_t *number, uint32_t end)
{
	struct keeper_message message;

	while (*number < end && hear(&message)) {
		uint32_t said = message.kind == KEEPER_ATTACH
					? message.extent.id
					: message.ticket;

		assert_int_equal(said, ++*number);
	}
}

/* What came last does not go before what waits. */
static void stopped__all_is_heard_in_order_later(void **state)
{
	struct keeper_message none;
	uint32_t heard = 0;

	(void)state;
	assert_int_equal(keeper_events(&keeper), POLLIN);
	say_all();
	assert_int_equal(keeper_events(&keeper), POLLIN | POLLOUT);
	keep_hearing(&heard, 10);
	assert_int_equal(heard, 10);
	for (uint32_t i = MESSAGES + 1; i <= MESSAGES + 10; i++)
		assert_int_equal(say(i), 0);
	while (heard < MESSAGES + 10) {
		uint32_t before = heard;

		assert_int_equal(keeper_receive(&keeper, 0, &none), -ETIMEDOUT);
		keep_hearing(&heard, MESSAGES + 10);
		assert_true(heard > before);
	}
	assert_int_equal(keeper_receive(&keeper, 0, &none), -ETIMEDOUT);
	assert_int_equal(keeper_events(&keeper), POLLIN);
}

static void stopped_then_killed__nothing_is_kept_for_it(void **state)
{
	struct keeper_message none;

	(void)state;
	say_all();
	close(keepers_end);
	keepers_end = -1;
	assert_int_equal(keeper_flush(&keeper, 1, MESSAGES + 1), -EPIPE);
	assert_int_equal(keeper_events(&keeper), POLLIN);
	assert_int_equal(keeper_receive(&keeper, 0, &none), -EPIPE);
	assert_int_equal(keeper_unlock(&keeper, 1), -EPIPE);
}

/* The program is through with it, and it never reads again. */
static void stopped__the_end_waits_for_nobody(void **state)
{
	(void)state;
	say_all();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(stopped__all_is_heard_in_order_later),
		TEST(stopped_then_killed__nothing_is_kept_for_it),
		TEST(stopped__the_end_waits_for_nobody),
	};

	return cmocka_run_group_tests_name("lease unsent", tests, NULL, NULL);
}
