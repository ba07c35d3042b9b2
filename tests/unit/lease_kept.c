/* SPDX-License-Identifier: BSD-2-Clause */
/* A file and the keeper that has it: lease_kept.h. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lease_kept.h"
#include "unit.h"

struct keeper keeper;
struct file file;

int kept_setup(void **state)
{
	(void)state;
	file_make(&file, PAGE);
	assert_int_equal(keeper_init(&keeper), 0);
	assert_int_equal(keeper_start(&keeper, KEEPER_PATH), 0);
	return 0;
}

int kept_teardown(void **state)
{
	pid_t pid = keeper.pid;

	(void)state;
	keeper_done(&keeper);
	if (pid)
		wait_for(process_is_gone, &pid, "the keeper ends");
	assert_int_equal(file_lease_holder(&file), 0);
	file_remove(&file);
	return 0;
}

struct keeper_message kept_receive(enum keeper_kind kind)
{
	struct keeper_message message;

	assert_int_equal(keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	assert_int_equal(message.kind, kind);
	return message;
}

struct keeper_message kept_until(uint32_t id, enum recall_state state)
{
	struct keeper_message message;

	do {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	} while (message.kind != KEEPER_REPORT || message.id != id ||
		 message.report.to != state);
	return message;
}

int kept_answer(void)
{
	struct keeper_message message;

	do {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	} while (message.kind != KEEPER_ACQUIRED);
	return message.error;
}

struct keeper_request kept_request(uint32_t id)
{
	return (struct keeper_request){
		.id = id,
		.fd = file.fd,
		.type = F_WRLCK,
	};
}

void kept_acquire(uint32_t id)
{
	struct keeper_request wanted = kept_request(id);

	assert_int_equal(keeper_acquire(&keeper, &wanted), 0);
	assert_int_equal(kept_answer(), 0);
	assert_int_equal(lease_of(file.fd), F_WRLCK);
	assert_int_equal(keeper_own_end(&keeper, id, KEEPER_OWN_ALLOCATE), 0);
	kept_fence();
}

int kept_ready(uint32_t id, enum keeper_own kind)
{
	struct keeper_message message;

	assert_int_equal(keeper_own_begin(&keeper, id, kind, 0), 0);
	do {
		assert_int_equal(
			keeper_receive(&keeper, WAIT_SEC * 1000, &message), 0);
	} while (message.kind != KEEPER_OWN_READY);
	assert_int_equal(message.id, id);
	assert_int_equal(message.own, kind);
	return message.error;
}

void kept_fence(void)
{
	assert_int_equal(kept_ready(BOARD_SLOTS - 1, KEEPER_OWN_OPEN), -ESRCH);
}

void kept_next(enum recall_state to, enum recall_cause cause)
{
	struct keeper_message message = kept_receive(KEEPER_REPORT);

	assert_int_equal(message.report.cause, cause);
	assert_int_equal(message.report.to, to);
}
