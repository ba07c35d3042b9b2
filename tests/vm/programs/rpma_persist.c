/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that uses librpma as its manual says for a peer without direct
 * write to persistent memory: a client writes into a file by rpma_write() and
 * sends a message, the server makes it durable by pmem_persist() and answers.
 *
 *     rpma_persist FILE ADDRESS
 *
 * Of daxmr it knows nothing. That the file has the bytes when the client is
 * answered is looked up past everything that may stand before the file.
 */
#include <fcntl.h>
#include <libpmem.h>
#include <librpma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT "7472"

enum {
	LENGTH = 65536,
	OFFSET = 8192 + 128
};

struct side {
	struct rpma_peer *peer;
	struct rpma_conn *conn;
	struct rpma_cq *cq;
	struct rpma_mr_local *messages;
	char *message; /* LENGTH bytes */
};

/* rpma's calls return a negative number of their own. */
static void must(int r, const char *what)
{
	if (!r)
		return;
	fprintf(stderr, "%s: %s: %m\n", what, rpma_err_2str(r));
	_exit(1);
}

static void open_side(struct side *side, const char *address,
		      enum rpma_util_ibv_context_type type)
{
	struct ibv_context *context = NULL;

	must(rpma_utils_get_ibv_context(address, type, &context),
	     "rpma_utils_get_ibv_context");
	must(rpma_peer_new(context, &side->peer), "rpma_peer_new");
	side->message = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(side->message == MAP_FAILED, "mmap");
	must(rpma_mr_reg(side->peer, side->message, LENGTH,
			 RPMA_MR_USAGE_WRITE_SRC | RPMA_MR_USAGE_SEND |
				 RPMA_MR_USAGE_RECV,
			 &side->messages),
	     "rpma_mr_reg of messages");
}

/* Posts the receive, and waits until the other side is there. */
static void connect_side(struct side *side, struct rpma_conn_req *request,
			 const struct rpma_conn_private_data *data)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;

	must(rpma_conn_req_recv(request, side->messages, 0, 8, "recv"),
	     "rpma_conn_req_recv");
	must(rpma_conn_req_connect(&request, data, &side->conn),
	     "rpma_conn_req_connect");
	must(rpma_conn_next_event(side->conn, &event), "rpma_conn_next_event");
	must(event != RPMA_CONN_ESTABLISHED, "the connection");
	must(rpma_conn_get_cq(side->conn, &side->cq), "rpma_conn_get_cq");
}

/* Until so many operations are done. */
static void collect(struct side *side, int count)
{
	struct ibv_wc wc;
	int got, r;

	while (count) {
		must(rpma_cq_wait(side->cq), "rpma_cq_wait");
		while (!(r = rpma_cq_get_wc(side->cq, 1, &wc, &got))) {
			must(wc.status, ibv_wc_status_str(wc.status));
			count--;
		}
		must(r == RPMA_E_NO_COMPLETION ? 0 : r, "rpma_cq_get_wc");
	}
}

static int run_client(const char *address)
{
	struct rpma_conn_private_data data;
	struct rpma_conn_req *request = NULL;
	struct rpma_mr_remote *file = NULL;
	struct side side = {0};

	open_side(&side, address, RPMA_UTIL_IBV_CONTEXT_REMOTE);
	memset(side.message, 'R', LENGTH);
	must(rpma_conn_req_new(side.peer, address, PORT, NULL, &request),
	     "rpma_conn_req_new");
	connect_side(&side, request, NULL);
	must(rpma_conn_get_private_data(side.conn, &data),
	     "rpma_conn_get_private_data");
	must(rpma_mr_remote_from_descriptor(data.ptr, data.len, &file),
	     "rpma_mr_remote_from_descriptor");
	must(rpma_write(side.conn, file, OFFSET, side.messages, 0, LENGTH,
			RPMA_F_COMPLETION_ON_ERROR, NULL),
	     "rpma_write");
	must(rpma_send(side.conn, side.messages, 0, 8, RPMA_F_COMPLETION_ALWAYS,
		       NULL),
	     "rpma_send");
	collect(&side, 2);
	must(rpma_conn_disconnect(side.conn), "rpma_conn_disconnect");
	return 0;
}

static bool is_in_file(int fd)
{
	static char bytes[LENGTH];

	if (syscall(SYS_pread64, fd, bytes, sizeof(bytes), OFFSET) != LENGTH)
		return false;
	for (int i = 0; i < LENGTH; i++)
		if (bytes[i] != 'R')
			return false;
	return true;
}

static void serve(struct side *side, struct rpma_ep *ep,
		  struct rpma_mr_local *file)
{
	struct rpma_conn_private_data data = {0};
	struct rpma_conn_req *request = NULL;
	char descriptor[256];
	size_t size;

	must(rpma_mr_get_descriptor_size(file, &size), "descriptor's size");
	must(size > sizeof(descriptor), "the descriptor is too long");
	must(rpma_mr_get_descriptor(file, descriptor), "descriptor");
	data.ptr = descriptor;
	data.len = (uint8_t)size;
	must(rpma_ep_next_conn_req(ep, NULL, &request),
	     "rpma_ep_next_conn_req");
	connect_side(side, request, &data);
	collect(side, 1);
}

static int run_server(const char *path, const char *address)
{
	enum rpma_conn_event event = RPMA_CONN_UNDEFINED;
	struct rpma_mr_local *file = NULL;
	struct rpma_ep *ep = NULL;
	struct side side = {0};
	int fd = open(path, O_RDWR | O_CLOEXEC), status;
	struct stat st;
	char *addr;
	pid_t client;

	must(fd < 0 || fstat(fd, &st), path);
	addr = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fd, 0);
	must(addr == MAP_FAILED, "mmap");
	open_side(&side, address, RPMA_UTIL_IBV_CONTEXT_LOCAL);
	must(rpma_ep_listen(side.peer, address, PORT, &ep), "rpma_ep_listen");
	must(rpma_mr_reg(side.peer, addr, (size_t)st.st_size,
			 RPMA_MR_USAGE_WRITE_DST |
				 RPMA_MR_USAGE_FLUSH_TYPE_VISIBILITY,
			 &file),
	     "rpma_mr_reg of the file");
	/* a program of its own: it inherits nothing of ours */
	client = fork();
	must(client < 0, "fork");
	if (!client) {
		execl("/proc/self/exe", "rpma_persist", address, NULL);
		_exit(127);
	}
	serve(&side, ep, file);
	pmem_persist(addr + OFFSET, LENGTH);
	must(!is_in_file(fd), "persisted, and not in the file");
	must(rpma_send(side.conn, side.messages, 0, 8, RPMA_F_COMPLETION_ALWAYS,
		       NULL),
	     "rpma_send");
	collect(&side, 1);
	must(rpma_conn_next_event(side.conn, &event), "rpma_conn_next_event");
	must(event != RPMA_CONN_CLOSED, "the connection's end");
	must(rpma_conn_disconnect(side.conn), "rpma_conn_disconnect");
	must(rpma_conn_delete(&side.conn), "rpma_conn_delete");
	must(rpma_mr_dereg(&file), "rpma_mr_dereg");
	must(waitpid(client, &status, 0) != client || status, "the client");
	printf("%d bytes are persistent\n", LENGTH);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return run_client(argv[1]);
	if (argc == 3)
		return run_server(argv[1], argv[2]);
	fprintf(stderr, "usage: rpma_persist FILE ADDRESS\n");
	return 2;
}
