/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose QP librdmacm has made hears of it when it is cut off: a process has a
 * pinned region on FILE and is connected to another, which is idle, cuts the
 * file off and waits for the event that its connection has ended. The first one
 * gets the event as well, and ends its side.
 *
 *     rdma_severed FILE ADDRESS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daxmr.h"
#include "ends.h"

#define SIZE	     (1UL << 20)
#define PORT	     7477
#define WAIT_SECONDS 60

struct connection {
	struct rdma_event_channel *channel;
	struct rdma_cm_id *id;
};

static struct rdma_event_channel *open_channel(void)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();

	if (!channel)
		die("rdma_create_event_channel: %m");
	return channel;
}

/* The id that it is of. */
static struct rdma_cm_id *expect(struct rdma_event_channel *channel,
				 enum rdma_cm_event_type wanted)
{
	struct pollfd waiting = {.fd = channel->fd, .events = POLLIN};
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;

	if (poll(&waiting, 1, WAIT_SECONDS * 1000) != 1)
		die("no event in %d s, not %s", WAIT_SECONDS,
		    rdma_event_str(wanted));
	if (rdma_get_cm_event(channel, &event))
		die("rdma_get_cm_event: %m");
	if (event->event != wanted)
		die("%s instead of %s: %d", rdma_event_str(event->event),
		    rdma_event_str(wanted), event->status);
	id = event->id;
	rdma_ack_cm_event(event);
	return id;
}

static void make_qp(struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr init = {
		.qp_type = IBV_QPT_RC,
		.cap = {.max_send_wr = 4,
			.max_recv_wr = 4,
			.max_send_sge = 1,
			.max_recv_sge = 1},
	};

	if (rdma_create_qp(id, NULL, &init))
		die("rdma_create_qp: %m");
}

static void end_connection(struct connection *connection)
{
	rdma_destroy_qp(connection->id);
	if (rdma_destroy_id(connection->id))
		die("rdma_destroy_id: %m");
	rdma_destroy_event_channel(connection->channel);
}

static void connect_to(struct connection *ret, struct sockaddr_in *address)
{
	struct rdma_conn_param param = {.retry_count = 7};

	ret->channel = open_channel();
	if (rdma_create_id(ret->channel, &ret->id, NULL, RDMA_PS_TCP) ||
	    rdma_resolve_addr(ret->id, NULL, (struct sockaddr *)address, 5000))
		die("rdma_resolve_addr: %m");
	expect(ret->channel, RDMA_CM_EVENT_ADDR_RESOLVED);
	if (rdma_resolve_route(ret->id, 5000))
		die("rdma_resolve_route: %m");
	expect(ret->channel, RDMA_CM_EVENT_ROUTE_RESOLVED);
	make_qp(ret->id);
	if (rdma_connect(ret->id, &param))
		die("rdma_connect: %m");
	expect(ret->channel, RDMA_CM_EVENT_ESTABLISHED);
}

/* Goes when the server listens, cuts the file off when that has registered. */
static int be_peer(const char *path, struct sockaddr_in *address, int orders)
{
	struct connection connection;
	char order;

	if (read(orders, &order, 1) != 1)
		return 1;
	connect_to(&connection, address);
	if (read(orders, &order, 1) != 1)
		return 1;
	if (truncate(path, SIZE / 2))
		die("truncate: %m");
	expect(connection.channel, RDMA_CM_EVENT_DISCONNECTED);
	end_connection(&connection);
	return 0;
}

static struct rdma_cm_id *listen_at(struct rdma_event_channel *channel,
				    struct sockaddr_in *address)
{
	struct rdma_cm_id *id;

	if (rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) ||
	    rdma_bind_addr(id, (struct sockaddr *)address) ||
	    rdma_listen(id, 1))
		die("rdma_listen: %m");
	return id;
}

static void accept_at(struct connection *connection)
{
	struct rdma_conn_param param = {.retry_count = 7};

	connection->id =
		expect(connection->channel, RDMA_CM_EVENT_CONNECT_REQUEST);
	make_qp(connection->id);
	if (rdma_accept(connection->id, &param))
		die("rdma_accept: %m");
	expect(connection->channel, RDMA_CM_EVENT_ESTABLISHED);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons(PORT)};
	const struct daxmr_options options = {
		.size = sizeof(options),
		.strategy = DAXMR_STRATEGY_PINNED,
		.on_recall = DAXMR_ON_RECALL_SEVER,
	};
	struct rdma_cm_id *listener;
	struct connection connection;
	int orders[2], status;
	struct daxmr_region *region;
	pid_t peer;
	void *file;

	if (argc != 3 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1)
		die("usage: rdma_severed FILE ADDRESS");
	if (pipe(orders))
		die("pipe: %m");
	peer = fork();
	if (peer == 0) {
		close(orders[1]);
		_exit(be_peer(argv[1], &address, orders[0]));
	}
	if (peer < 0)
		die("fork: %m");
	close(orders[0]);
	connection.channel = open_channel();
	listener = listen_at(connection.channel, &address);
	if (write(orders[1], "", 1) != 1)
		die("the peer has ended");
	accept_at(&connection);
	file = map_file(argv[1], SIZE);
	if (daxmr_reg_mr(connection.id->pd, file, SIZE, IBV_ACCESS_LOCAL_WRITE,
			 &options, &region))
		die("daxmr_reg_mr: %s", daxmr_errormsg());
	if (write(orders[1], "", 1) != 1)
		die("the peer has ended");
	expect(connection.channel, RDMA_CM_EVENT_DISCONNECTED);
	if (waitpid(peer, &status, 0) != peer || status)
		die("the peer has failed");
	if (daxmr_dereg_mr(region))
		die("daxmr_dereg_mr: %s", daxmr_errormsg());
	if (rdma_destroy_id(listener))
		die("rdma_destroy_id: %m");
	end_connection(&connection);
	puts("both ends have heard of it");
	return 0;
}
