/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stories of daxmr.h's events (tests/unit/api_stories.h) on fs-dax and a
 * real device, and one in which a peer takes part. With "pinned": those of
 * pinned regions, where the kernel pins.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "api_daemon.h"
#include "api_stories.h"
#include "ends.h"

static struct end server, peer;

/* Acknowledged before the ack: in what others see. After it: on the wire. */
static void peer__writes_are_in_the_snapshot(void **state)
{
	const struct daxmr_options asks = {
		.strategy = DAXMR_STRATEGY_STAGED,
		.on_recall = DAXMR_ON_RECALL_ASK,
		.quiesce_ms = 30000,
	};
	struct daxmr_info info = {.size = sizeof(info)};
	static char message[DAEMON_PAGE];
	struct ibv_mr *mr = end_register(&peer, message, sizeof(message),
					 IBV_ACCESS_LOCAL_WRITE);
	struct daemon_file file;
	struct daxmr_event *event;
	struct outsider reader;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, server.pd, asks);
	assert_int_equal(daxmr_region_info(file.region, &info), 0);
	outsider_start(&reader, &file, O_RDONLY);
	event = daemon_expect_out(&file, DAXMR_EVENT_RECALL);

	memset(message, 'P', sizeof(message));
	assert_int_equal(
		end_rdma(&peer, IBV_WR_RDMA_WRITE, mr, message, sizeof(message),
			 (uintptr_t)info.addr + DAEMON_PAGE, info.rkey),
		IBV_WC_SUCCESS);
	assert_int_equal(daxmr_event_ack(event), 0);
	daemon_expect(&file, DAXMR_EVENT_YIELDED);
	memset(message, 'Q', sizeof(message));
	assert_int_equal(
		end_rdma(&peer, IBV_WR_RDMA_WRITE, mr, message, sizeof(message),
			 (uintptr_t)info.addr + DAEMON_PAGE, info.rkey),
		IBV_WC_SUCCESS);

	outsider_wait_open(&reader);
	assert_int_equal(outsider_read(&reader, DAEMON_PAGE), 'P');
	assert_int_equal(outsider_read(&reader, 2 * DAEMON_PAGE - 1), 'P');
	outsider_end(&reader);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	daemon_expect(&file, DAXMR_EVENT_MERGED);
	assert_int_equal(file.addr[DAEMON_PAGE], 'Q');
	ibv_dereg_mr(mr);
	daemon_close(&file);
}

int main(int argc, char **argv)
{
	bool is_pinned = argc == 2 && !strcmp(argv[1], "pinned");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer__writes_are_in_the_snapshot),
	};
	int failed;

	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	api_stories_for(server.pd);
	api_pinned_stories_for(server.pd);
	if (is_pinned) {
		failed = cmocka_run_group_tests(api_pinned_stories, NULL, NULL);
	} else {
		failed = cmocka_run_group_tests(api_stories, NULL, NULL);
		failed += cmocka_run_group_tests(tests, NULL, NULL);
	}
	end_close(&peer);
	end_close(&server);
	return failed;
}
