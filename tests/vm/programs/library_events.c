/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stories of daxmr.h's events (tests/unit/api_stories.h) on fs-dax and a
 * real device, and one in which a peer takes part. With "pinned": those of
 * pinned regions, where the kernel pins; with "severed" that of one that cuts
 * its peers off. With "odp": what there is to hear and
 * to do where the device pages on demand.
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

static enum ibv_wc_status peer_writes_at(const struct daemon_file *file,
					 size_t offset)
{
	struct daxmr_info info = {.size = sizeof(info)};
	static char byte = 'O';
	struct ibv_mr *mr = end_register(&peer, &byte, 1, 0);
	enum ibv_wc_status status;

	assert_int_equal(daxmr_region_info(file->region, &info), 0);
	status = end_rdma(&peer, IBV_WR_RDMA_WRITE, mr, &byte, 1,
			  (uintptr_t)info.addr + offset, info.rkey);
	ibv_dereg_mr(mr);
	return status;
}

/* The kernel needs nobody's help: others come and go, and nothing is heard. */
static void odp__flushes_and_resizes(void **state)
{
	const struct daxmr_options odp = {.strategy = DAXMR_STRATEGY_ODP};
	struct daemon_file file;
	struct outsider writer;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, server.pd, odp);
	assert_int_equal(peer_writes_at(&file, 0), IBV_WC_SUCCESS);
	assert_int_equal(daxmr_flush(file.region, 0, DAEMON_SIZE, 0), 0);
	assert_int_equal(daxmr_flush(file.region, 0, 0, DAXMR_FLUSH_NOWAIT), 0);
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_FLUSHED).count, 1);

	outsider_start(&writer, &file, O_RDWR);
	outsider_wait_open(&writer);
	assert_int_equal(outsider_read(&writer, 0), 'O');
	assert_int_equal(daxmr_resize(file.region, file.fd, DAEMON_MAPPED,
				      DAEMON_MAPPED),
			 0);
	assert_int_equal(peer_writes_at(&file, DAEMON_MAPPED - 1),
			 IBV_WC_SUCCESS);
	assert_int_equal(outsider_read(&writer, DAEMON_MAPPED - 1), 'O');
	outsider_end(&writer);
	assert_int_equal(
		daxmr_resize(file.region, file.fd, DAEMON_SIZE, DAEMON_SIZE),
		0);
	assert_int_equal(peer_writes_at(&file, DAEMON_SIZE - 1),
			 IBV_WC_SUCCESS);
	assert_int_equal(peer_writes_at(&file, DAEMON_SIZE),
			 IBV_WC_REM_ACCESS_ERR);
	daemon_expect_none(&file);
	daemon_close(&file);
}

/* The one is told by the keeper, the other by who has deregistered. */
static void expect_in_any_order(const struct daemon_file *file,
				enum daxmr_event_kind one,
				enum daxmr_event_kind other)
{
	struct daxmr_event *event;
	unsigned int heard = 0;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			daxmr_event_get(file->channel, DAEMON_WAIT_MS, &event),
			0);
		assert_int_equal(event->error, 0);
		heard |= 1U << event->kind;
		daxmr_event_ack(event);
	}
	assert_int_equal(heard, 1U << one | 1U << other);
}

/* Under daxmr run, whose hooks know the queue pairs. */
static void sever__is_told(void **state)
{
	const struct daxmr_options severs = {
		.strategy = DAXMR_STRATEGY_PINNED,
		.on_recall = DAXMR_ON_RECALL_SEVER,
	};
	struct daemon_file file;
	struct outsider reader;

	(void)state;
	daemon_open(&file);
	daemon_register(&file, server.pd, severs);
	assert_int_equal(peer_writes_at(&file, 0), IBV_WC_SUCCESS);
	outsider_start(&reader, &file, O_RDONLY);
	outsider_wait_open(&reader);
	assert_int_equal(outsider_read(&reader, 0), 'O');
	assert_int_equal(daemon_expect(&file, DAXMR_EVENT_RECALL).who,
			 DAXMR_WHO_OTHERS);
	expect_in_any_order(&file, DAXMR_EVENT_SEVERED, DAXMR_EVENT_YIELDED);
	assert_int_equal(end_state(&server), IBV_QPS_ERR);
	outsider_end(&reader);
	daemon_expect(&file, DAXMR_EVENT_RETAKEN);
	ends_connect(&server, &peer);
	assert_int_equal(peer_writes_at(&file, 1), IBV_WC_SUCCESS);
	daemon_close(&file);
}

int main(int argc, char **argv)
{
	bool is_severed = argc == 2 && !strcmp(argv[1], "severed");
	bool is_pinned = argc == 2 && !strcmp(argv[1], "pinned");
	bool is_odp = argc == 2 && !strcmp(argv[1], "odp");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer__writes_are_in_the_snapshot),
	};
	const struct CMUnitTest severed[] = {
		cmocka_unit_test(sever__is_told),
	};
	const struct CMUnitTest on_demand[] = {
		cmocka_unit_test(odp__flushes_and_resizes),
	};
	int failed;

	end_open(&server);
	end_open(&peer);
	ends_connect(&server, &peer);
	api_stories_for(server.pd);
	api_pinned_stories_for(server.pd);
	if (is_pinned) {
		failed = cmocka_run_group_tests(api_pinned_stories, NULL, NULL);
	} else if (is_severed) {
		failed = cmocka_run_group_tests(severed, NULL, NULL);
	} else if (is_odp) {
		failed = cmocka_run_group_tests(on_demand, NULL, NULL);
	} else {
		failed = cmocka_run_group_tests(api_stories, NULL, NULL);
		failed += cmocka_run_group_tests(tests, NULL, NULL);
	}
	end_close(&peer);
	end_close(&server);
	return failed;
}
