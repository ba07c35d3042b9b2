/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages by librpma: beside.h. It asks for paging on demand by itself, where
 * memory cannot be registered otherwise.
 */
#include <librpma.h>

#include "beside.h"
#include "ends.h"

#define ADDRESS "10.0.0.1" /* the rig's */
#define PORT	"7473"

static struct rpma_conn *from_server, *from_peer;
static struct rpma_peer *server, *peer;
static struct rpma_mr_local *sent;
static struct rpma_mr_remote *received;
static struct rpma_cq *cq;

static void must(int r, const char *what)
{
	if (r)
		die("%s: %s", what, rpma_err_2str(r));
}

static struct rpma_peer *new_peer(enum rpma_util_ibv_context_type type)
{
	struct ibv_context *context = NULL;
	struct rpma_peer *made = NULL;

	must(rpma_utils_get_ibv_context(ADDRESS, type, &context),
	     "rpma_utils_get_ibv_context");
	let_advise(context);
	must(rpma_peer_new(context, &made), "rpma_peer_new");
	return made;
}

static void established(struct rpma_conn *conn)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;

	must(rpma_conn_next_event(conn, &event), "rpma_conn_next_event");
	if (event != RPMA_CONN_ESTABLISHED)
		die("not connected: %s", rpma_utils_conn_event_2str(event));
}

static void rpma_open(char *source, size_t length)
{
	struct rpma_conn_req *asked = NULL, *heard = NULL;
	struct rpma_conn_cfg *room = NULL;
	struct rpma_ep *ep = NULL;

	server = new_peer(RPMA_UTIL_IBV_CONTEXT_LOCAL);
	peer = new_peer(RPMA_UTIL_IBV_CONTEXT_REMOTE);
	must(rpma_conn_cfg_new(&room), "rpma_conn_cfg_new");
	must(rpma_conn_cfg_set_sq_size(room, 2 * BATCH), "send queue");
	must(rpma_conn_cfg_set_cq_size(room, 2 * BATCH), "completion queue");
	must(rpma_ep_listen(server, ADDRESS, PORT, &ep), "rpma_ep_listen");
	must(rpma_conn_req_new(peer, ADDRESS, PORT, room, &asked),
	     "rpma_conn_req_new");
	must(rpma_conn_req_connect(&asked, NULL, &from_peer), "connect");
	must(rpma_ep_next_conn_req(ep, room, &heard), "rpma_ep_next_conn_req");
	must(rpma_conn_req_connect(&heard, NULL, &from_server), "accept");
	established(from_peer);
	established(from_server);
	must(rpma_conn_get_cq(from_peer, &cq), "rpma_conn_get_cq");
	must(rpma_mr_reg(peer, source, length, RPMA_MR_USAGE_WRITE_SRC, &sent),
	     "rpma_mr_reg of what is sent");
}

static void rpma_reg(char *addr, size_t length, bool on_demand, bool prefetch)
{
	struct rpma_mr_local *mr = NULL;
	char descriptor[256];
	size_t size;

	(void)on_demand;
	must(rpma_mr_reg(server, addr, length,
			 RPMA_MR_USAGE_WRITE_DST |
				 RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY,
			 &mr),
	     "rpma_mr_reg");
	if (prefetch)
		must(rpma_mr_advise(mr, 0, length,
				    IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
				    IBV_ADVISE_MR_FLAG_FLUSH),
		     "rpma_mr_advise");
	must(rpma_mr_get_descriptor_size(mr, &size), "descriptor's size");
	if (size > sizeof(descriptor))
		die("a descriptor of %zu bytes", size);
	must(rpma_mr_get_descriptor(mr, descriptor), "rpma_mr_get_descriptor");
	must(rpma_mr_remote_from_descriptor(descriptor, size, &received),
	     "rpma_mr_remote_from_descriptor");
}

static void rpma_post(size_t from, size_t to, size_t message)
{
	for (size_t i = 0; i < BATCH; i++)
		must(rpma_write(from_peer, received, to + i * message, sent,
				from + i * message, message,
				i + 1 < BATCH ? RPMA_F_COMPLETION_ON_ERROR
					      : RPMA_F_COMPLETION_ALWAYS,
				NULL),
		     "rpma_write");
}

static int rpma_poll(struct ibv_wc *wc)
{
	int r = rpma_cq_get_wc(cq, 1, wc, NULL);

	if (r == RPMA_E_NO_COMPLETION)
		return 0;
	must(r, "rpma_cq_get_wc");
	return 1;
}

const struct transport by_rpma = {rpma_open, rpma_reg, rpma_post, rpma_poll};
