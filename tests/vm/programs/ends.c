/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"

#define WAIT_SECONDS 20

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void end_open(struct end *end)
{
	struct ibv_device **devices = ibv_get_device_list(NULL);

	if (!devices || !devices[0])
		die("no RDMA device");
	memset(end, 0, sizeof(*end));
	end->context = ibv_open_device(devices[0]);
	ibv_free_device_list(devices);
	if (!end->context)
		die("ibv_open_device: %s", strerror(errno));
	end->pd = ibv_alloc_pd(end->context);
	end->cq = ibv_create_cq(end->context, 128, NULL, NULL, 0);
	if (!end->pd || !end->cq)
		die("ibv_alloc_pd, ibv_create_cq: %s", strerror(errno));
}

void end_close(struct end *end)
{
	if (end->qp && ibv_destroy_qp(end->qp))
		die("ibv_destroy_qp failed");
	if (ibv_destroy_cq(end->cq) || ibv_dealloc_pd(end->pd) ||
	    ibv_close_device(end->context))
		die("an end cannot be closed: something of it is in use");
}

/* The GID of the veth's IPv4 address. */
static int ipv4_gid(struct ibv_context *context, union ibv_gid *gid)
{
	struct ibv_port_attr port;
	int i;

	if (ibv_query_port(context, 1, &port))
		die("ibv_query_port failed");
	for (i = 0; i < port.gid_tbl_len; i++)
		if (ibv_query_gid(context, 1, i, gid) == 0 &&
		    gid->raw[10] == 0xff && gid->raw[11] == 0xff)
			return i;
	die("no IPv4 GID");
}

static uint32_t or_else(uint32_t asked, uint32_t usual)
{
	return asked ? asked : usual;
}

void end_make_qp(struct end *end)
{
	struct ibv_qp_init_attr_ex init = {
		.send_cq = end->cq,
		.recv_cq = end->cq,
		.srq = end->srq,
		.qp_type = IBV_QPT_RC,
		.cap =
			{
				.max_send_wr = or_else(end->max_send_wr, 64),
				.max_recv_wr = 16,
				.max_inline_data = end->max_inline_data,
				.max_send_sge = 1,
				.max_recv_sge = 1,
			},
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = end->pd,
		.send_ops_flags = end->send_ops,
	};
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = REMOTE_ALL,
	};

	if (end->qp)
		ibv_destroy_qp(end->qp);
	if (end->send_ops)
		init.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
	end->qp = ibv_create_qp_ex(end->context, &init);
	if (!end->qp)
		die("ibv_create_qp_ex: %s", strerror(errno));
	if (ibv_modify_qp(end->qp, &attr,
			  IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				  IBV_QP_ACCESS_FLAGS))
		die("QP to INIT: %s", strerror(errno));
}

void end_connect(struct end *end, uint32_t qp_number)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = qp_number,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = (uint8_t)or_else(end->min_rnr_timer, 12),
		.ah_attr = {.is_global = 1, .port_num = 1},
	};

	attr.ah_attr.grh.sgid_index =
		(uint8_t)ipv4_gid(end->context, &attr.ah_attr.grh.dgid);
	attr.ah_attr.grh.hop_limit = 64;
	if (ibv_modify_qp(end->qp, &attr,
			  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				  IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				  IBV_QP_MAX_DEST_RD_ATOMIC |
				  IBV_QP_MIN_RNR_TIMER))
		die("QP to RTR: %s", strerror(errno));
	attr.qp_state = IBV_QPS_RTS;
	attr.timeout = (uint8_t)or_else(end->timeout, 14);
	attr.retry_cnt = 7;
	attr.rnr_retry = (uint8_t)or_else(end->rnr_retry, 7);
	attr.max_rd_atomic = 4;
	if (ibv_modify_qp(end->qp, &attr,
			  IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
				  IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
				  IBV_QP_MAX_QP_RD_ATOMIC))
		die("QP to RTS: %s", strerror(errno));
}

void ends_connect(struct end *a, struct end *b)
{
	struct ibv_wc wc;

	end_make_qp(a);
	end_make_qp(b);
	/* what the old QPs left */
	while (ibv_poll_cq(a->cq, 1, &wc) > 0 || ibv_poll_cq(b->cq, 1, &wc) > 0)
		;
	end_connect(a, b->qp->qp_num);
	end_connect(b, a->qp->qp_num);
}

struct ibv_mr *end_register(struct end *end, void *addr, size_t length,
			    int access)
{
	struct ibv_mr *mr = ibv_reg_mr(end->pd, addr, length, access);

	if (!mr)
		die("ibv_reg_mr(%p, %zu, %#x): %s", addr, length, access,
		    strerror(errno));
	return mr;
}

enum ibv_wc_status end_wait(struct end *end, unsigned int seconds)
{
	double deadline = now() + seconds;
	struct ibv_wc wc;
	int n;

	for (;;) {
		n = ibv_poll_cq(end->cq, 1, &wc);
		if (n < 0)
			die("ibv_poll_cq failed");
		if (n)
			return wc.status;
		if (now() > deadline)
			die("no completion in %u s", seconds);
	}
}

static void post(struct end *end, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;
	int r = ibv_post_send(end->qp, wr, &bad);

	if (r)
		die("ibv_post_send: %s", strerror(r));
}

enum ibv_wc_status end_rdma(struct end *end, enum ibv_wr_opcode opcode,
			    struct ibv_mr *local, void *at, uint32_t length,
			    uint64_t remote, uint32_t rkey)
{
	struct ibv_sge sge = {(uintptr_t)at, length, local->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = {remote, rkey},
	};

	post(end, &wr);
	return end_wait(end, WAIT_SECONDS);
}

enum ibv_wc_status end_atomic(struct end *end, enum ibv_wr_opcode opcode,
			      struct ibv_mr *local, uint64_t *result,
			      uint64_t remote, uint32_t rkey, uint64_t compare,
			      uint64_t swap_or_add)
{
	bool swaps = opcode == IBV_WR_ATOMIC_CMP_AND_SWP;
	struct ibv_sge sge = {(uintptr_t)result, 8, local->lkey};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.atomic =
			{
				.remote_addr = remote,
				.compare_add = swaps ? compare : swap_or_add,
				.swap = swap_or_add,
				.rkey = rkey,
			},
	};

	post(end, &wr);
	return end_wait(end, WAIT_SECONDS);
}

void end_post_recv(struct end *end, struct ibv_mr *mr, void *at,
		   uint32_t length)
{
	struct ibv_sge sge = {(uintptr_t)at, length, mr->lkey};
	struct ibv_recv_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad;
	int r = ibv_post_recv(end->qp, &wr, &bad);

	if (r)
		die("ibv_post_recv: %s", strerror(r));
}

enum ibv_qp_state end_state(struct end *end)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	if (ibv_query_qp(end->qp, &attr, IBV_QP_STATE, &init))
		die("ibv_query_qp failed");
	return attr.qp_state;
}

void fill_pattern(void *to, size_t length, uint64_t offset, uint32_t round)
{
	unsigned char *bytes = to;
	size_t i;

	for (i = 0; i < length; i++) {
		uint64_t x = (offset + i) * 0x9e3779b97f4a7c15ULL +
			     round * 0xbf58476d1ce4e5b9ULL;

		bytes[i] = (unsigned char)(x >> 56);
	}
}

void *map_file(const char *path, size_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;
	void *addr;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s: %s", path, strerror(errno));
	if (st.st_size == 0 && ftruncate(fd, (off_t)size) < 0)
		die("%s: %s", path, strerror(errno));
	addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		die("mmap %s: %s", path, strerror(errno));
	close(fd);
	return addr;
}
