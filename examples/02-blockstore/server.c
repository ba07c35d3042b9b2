/* SPDX-License-Identifier: BSD-2-Clause */
/* The event loop, and what it listens to. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "peer.h"
#include "say.h"
#include "server.h"

#define RETRY_MS 200
#define PROBE_S	 10
#define BATCH	 16 /* completions at a time: others shall have their turn */

enum source {
	SOURCE_CONNECTIONS,
	SOURCE_COMPLETIONS,
	SOURCE_REGIONS,
	SOURCE_FILE,
	SOURCE_CLOCK,
	SOURCE_SIGNALS,
	SOURCES
};

struct server {
	struct store *store;
	struct window *windows;
	struct peer *peers;
	struct rdma_event_channel *connections;
	struct rdma_cm_id *listener;
	struct ibv_comp_channel *completions;
	struct ibv_cq *cq;
	struct daxmr_channel *regions;
	int clock;   /* timerfd: every PROBE_S */
	int signals; /* signalfd: we are to end */
	int epoll;
	bool must_fit;	/* some windows do not have their size yet */
	bool must_poll; /* there may be more completions */
	bool is_over;
};

/* Who is there already, or no window: refused. */
static void take_request(struct server *server, struct rdma_cm_id *id,
			 const struct rdma_conn_param *param)
{
	struct rdma_conn_param request = *param;
	struct wire_hello hello = {0};
	int error = 0;

	if (param->private_data && param->private_data_len >= sizeof(hello))
		memcpy(&hello, param->private_data, sizeof(hello));
	if (hello.magic != WIRE_MAGIC)
		error = EPROTO;
	else if (hello.window >= server->store->windows)
		error = ENXIO;
	else if (server->peers[hello.window].id)
		error = EBUSY;
	if (error) {
		peer_refuse(id, error);
		rdma_destroy_id(id);
		return;
	}
	id->context = &server->peers[hello.window];
	peer_accept(id->context, id, server->cq, &request);
}

static void go_on(struct server *server)
{
	for (uint32_t i = 0; i < server->store->windows; i++)
		peer_go_on(&server->peers[i]);
}

/*
 * What has become of the file is looked at when it is ours again: a look may
 * change the index, and whoever has the file shall see nothing of that.
 */
static void fit(struct server *server)
{
	struct store *store = server->store;

	server->must_fit = true;
	if (!window_is_ours(&server->windows[0]))
		return;
	server->must_fit = false;
	if (store_has_changed(store)) {
		store_look(store);
		for (uint32_t i = 0; i < store->windows; i++)
			window_look(&server->windows[i]);
	}
	for (uint32_t i = 0; i < store->windows; i++)
		if (peer_fit(&server->peers[i]))
			server->must_fit = true;
	go_on(server);
}

/* An id goes only when its event is acked, and the request's data with it. */
static void take_connection(struct server *server)
{
	unsigned char data[256];
	struct rdma_cm_event *event;
	struct rdma_conn_param param;
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	struct peer *peer;

	if (rdma_get_cm_event(server->connections, &event))
		return;
	type = event->event;
	id = event->id;
	param = event->param.conn;
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST && param.private_data) {
		memcpy(data, param.private_data, param.private_data_len);
		param.private_data = data;
	}
	rdma_ack_cm_event(event);
	peer = id->context;
	switch (type) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		take_request(server, id, &param);
		break;
	case RDMA_CM_EVENT_ESTABLISHED:
		/* a cut may be why it comes again */
		fit(server);
		peer_greet(peer);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
	case RDMA_CM_EVENT_REJECTED:
		peer_drop(peer);
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		say(-ENODEV, "the device is removed");
		server->is_over = true;
		break;
	default:
		break;
	}
}

static void take_completions(struct server *server)
{
	struct ibv_wc completions[BATCH];
	struct ibv_cq *cq;
	void *context;
	int n;

	if (!ibv_get_cq_event(server->completions, &cq, &context)) {
		ibv_ack_cq_events(cq, 1);
		/* asked first: one that comes while we look is an event */
		ibv_req_notify_cq(cq, 0);
	}
	n = ibv_poll_cq(server->cq, BATCH, completions);
	for (int i = 0; i < n; i++)
		peer_complete(server->peers, server->store->windows,
			      &completions[i]);
	server->must_poll = n == BATCH;
}

/*
 * No commit is under way when we are here, and none begins until the file is
 * ours again: what the ack lets go is a moment between two of them.
 */
static void take_region_events(struct server *server)
{
	struct daxmr_event *event;

	while (!daxmr_event_get(server->regions, 0, &event)) {
		const struct window *window = event->data;

		/* each region tells: one is enough to hear */
		if (event->region == server->windows[0].index || event->error)
			say(event->error, "window %u: %s, %llu blocks",
			    window->number, daxmr_event_name(event->kind),
			    (unsigned long long)event->blocks);
		daxmr_event_ack(event);
	}
	go_on(server);
}

static void take_clock(struct server *server)
{
	uint64_t ticks;

	if (read(server->clock, &ticks, sizeof(ticks)) > 0)
		for (uint32_t i = 0; i < server->store->windows; i++)
			peer_probe(&server->peers[i]);
}

static int timeout_ms(const struct server *server)
{
	if (server->must_poll)
		return 0;
	return server->must_fit ? RETRY_MS : -1;
}

/* epoll tells of one source after the other: none waits for long. */
static void run(struct server *server)
{
	fit(server);
	while (!server->is_over) {
		struct epoll_event event;
		int n = epoll_wait(server->epoll, &event, 1,
				   timeout_ms(server));
		bool is_polled = n > 0 && event.data.u32 == SOURCE_COMPLETIONS;

		if (n > 0 && event.data.u32 == SOURCE_CONNECTIONS)
			take_connection(server);
		else if (n > 0 && event.data.u32 == SOURCE_REGIONS)
			take_region_events(server);
		else if (n > 0 && event.data.u32 == SOURCE_FILE)
			store_has_changed(server->store);
		else if (n > 0 && event.data.u32 == SOURCE_CLOCK)
			take_clock(server);
		else if (n > 0 && !is_polled)
			server->is_over = true;
		if (is_polled || server->must_poll)
			take_completions(server);
		if (server->must_fit || server->store->has_changed)
			fit(server);
	}
}

static int set_nonblocking(int fd)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
}

static int watch(struct server *server)
{
	const int fds[SOURCES] = {
		[SOURCE_CONNECTIONS] = server->connections->fd,
		[SOURCE_COMPLETIONS] = server->completions->fd,
		[SOURCE_REGIONS] = daxmr_channel_fd(server->regions),
		[SOURCE_FILE] = server->store->watch,
		[SOURCE_CLOCK] = server->clock,
		[SOURCE_SIGNALS] = server->signals,
	};
	int r = set_nonblocking(server->connections->fd);

	if (!r)
		r = set_nonblocking(server->completions->fd);
	for (uint32_t i = 0; !r && i < SOURCES; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

		if (fds[i] >= 0 &&
		    epoll_ctl(server->epoll, EPOLL_CTL_ADD, fds[i], &event))
			r = -errno;
	}
	return r ? say(r, "its event loop cannot be made") : 0;
}

/* Before the first thread, so that none takes the signals. */
static int open_descriptors(struct server *server)
{
	const struct itimerspec every = {.it_interval = {.tv_sec = PROBE_S},
					 .it_value = {.tv_sec = PROBE_S}};
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	server->signals = signalfd(-1, &signals, SFD_CLOEXEC);
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->clock =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (server->signals < 0 || server->epoll < 0 || server->clock < 0 ||
	    timerfd_settime(server->clock, 0, &every, NULL))
		return say(-errno, "no descriptors");
	r = daxmr_channel_open(&server->regions);
	return r ? say(r, "no channel") : 0;
}

/* An address of its own: so it is known whose device the memory is for. */
static int listen_at(struct server *server, const char *address)
{
	struct rdma_addrinfo hints = {.ai_flags = RAI_PASSIVE,
				      .ai_port_space = RDMA_PS_TCP},
			     *found = NULL;
	char host[256], port[8];
	int r = read_address(address, host, port);

	if (r)
		return r;
	server->connections = rdma_create_event_channel();
	if (!server->connections ||
	    rdma_create_id(server->connections, &server->listener, NULL,
			   RDMA_PS_TCP))
		return say(-errno,
			   "no connection manager: is rdma_ucm loaded?");
	if (rdma_getaddrinfo(host, port, &hints, &found))
		return say(-EINVAL, "%s: is no address", address);
	if (rdma_bind_addr(server->listener, found->ai_src_addr))
		r = say(-errno, "%s: cannot be listened at", address);
	else if (!server->listener->verbs)
		r = say(-ENODEV,
			"%s: belongs to no RDMA device: give the address of "
			"one",
			address);
	rdma_freeaddrinfo(found);
	return r;
}

static int make_queue(struct server *server, struct ibv_context *context)
{
	int entries =
		(int)server->store->windows * (PEER_RECEIVES + PEER_SENDS);

	server->completions = ibv_create_comp_channel(context);
	if (server->completions)
		server->cq = ibv_create_cq(context, entries, NULL,
					   server->completions, 0);
	if (!server->cq || ibv_req_notify_cq(server->cq, 0))
		return say(-errno, "no completion queue of %d entries",
			   entries);
	return 0;
}

static int open_windows(struct server *server, struct ibv_context *context)
{
	uint32_t count = server->store->windows;
	int r = 0;

	server->windows = calloc(count, sizeof(*server->windows));
	server->peers = calloc(count, sizeof(*server->peers));
	if (!server->windows || !server->peers)
		return say(-ENOMEM, "no memory for %u windows", count);
	for (uint32_t i = 0; !r && i < count; i++) {
		server->peers[i].window = &server->windows[i];
		r = window_open(&server->windows[i], server->store, i, context,
				server->regions);
	}
	return r;
}

/*
 * What is committed is in the file already; this hands it back in order. After
 * a failed start some of it is not there.
 */
static void shut_down(struct server *server)
{
	uint32_t count = server->store->windows;

	for (uint32_t i = 0; server->peers && i < count; i++)
		if (server->peers[i].id) {
			rdma_disconnect(server->peers[i].id);
			peer_drop(&server->peers[i]);
		}
	for (uint32_t i = 0; server->windows && i < count; i++)
		window_close(&server->windows[i]);
	if (server->cq)
		ibv_destroy_cq(server->cq);
	if (server->completions)
		ibv_destroy_comp_channel(server->completions);
	if (server->listener)
		rdma_destroy_id(server->listener);
	if (server->connections)
		rdma_destroy_event_channel(server->connections);
	if (server->regions)
		daxmr_channel_close(server->regions);
	free(server->windows);
	free(server->peers);
}

int serve(struct store *store, const char *address)
{
	struct server server = {.store = store};
	int r = open_descriptors(&server);

	if (!r)
		r = listen_at(&server, address);
	if (!r && server.listener)
		r = make_queue(&server, server.listener->verbs);
	if (!r && server.listener)
		r = open_windows(&server, server.listener->verbs);
	if (!r)
		r = watch(&server);
	if (!r && rdma_listen(server.listener, 64))
		r = say(-errno, "%s: cannot be listened at", address);
	if (!r) {
		say(0, "%u windows at %s", store->windows, address);
		run(&server);
	}
	shut_down(&server);
	return r;
}
