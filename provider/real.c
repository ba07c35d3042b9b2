/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dl_real.h"
#include "real.h"

const struct dl_library real_library = {
	.soname = "libibverbs.so.1",
	.name = "libibverbs",
	.symbol = "ibv_reg_mr",
	.version = "IBVERBS_1.1",
};

static int query_device_ex(struct ibv_context *context,
			   const struct ibv_query_device_ex_input *input,
			   struct ibv_device_attr_ex *attr)
{
	struct verbs_context *vctx = verbs_get_ctx_op(context, query_device_ex);
	int r;

	memset(attr, 0, sizeof(*attr));
	if (vctx) {
		r = vctx->query_device_ex(context, input, attr, sizeof(*attr));
		if (r != EOPNOTSUPP && r != ENOSYS)
			return r;
	}
	memset(attr, 0, sizeof(*attr));
	return real_verbs()->query_device(context, &attr->orig_attr);
}

static int query_port(struct ibv_context *context, uint8_t port,
		      struct ibv_port_attr *attr)
{
	struct verbs_context *vctx = verbs_get_ctx_op(context, query_port);

	memset(attr, 0, sizeof(*attr));
	if (vctx)
		return vctx->query_port(context, port, attr, sizeof(*attr));
	return real_verbs()->query_port(context, port,
					(struct _compat_ibv_port_attr *)attr);
}

static int advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		     uint32_t flags, struct ibv_sge *sg_list, uint32_t num_sge)
{
	return ibv_advise_mr(pd, advice, flags, sg_list, num_sge);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	return ibv_post_send(qp, wr, bad_wr);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr,
		     struct ibv_recv_wr **bad_wr)
{
	return ibv_post_recv(qp, wr, bad_wr);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr,
			 struct ibv_recv_wr **bad_wr)
{
	return ibv_post_srq_recv(srq, wr, bad_wr);
}

static int poll_cq(struct ibv_cq *cq, int num_entries, struct ibv_wc *wc)
{
	return ibv_poll_cq(cq, num_entries, wc);
}

struct wanted {
	const char *name;
	const char *version;
	void *to; /* the pointer to fill */
	bool optional;
};

/*
 * What a call of ours would reach if we were not there: another interposer
 * behind us, found as programs find it, without a version; else the library.
 */
static void *find_next(void *handle, const char *name, void *original)
{
	void *next = dl_real_dlsym(RTLD_NEXT, name);

	if (next && next != dl_real_dlsym(handle, name))
		return next;
	return original;
}

static bool find_all(const struct wanted *wanted, size_t n, void *handle,
		     bool through_others)
{
	void *found;
	size_t i;

	for (i = 0; i < n; i++) {
		found = dl_real_dlvsym(handle, wanted[i].name,
				       wanted[i].version);
		if (found && through_others)
			found = find_next(handle, wanted[i].name, found);
		if (!found && !wanted[i].optional)
			return false;
		memcpy(wanted[i].to, &found, sizeof(found));
	}
	return true;
}

static bool find(struct real_verbs *real)
{
	struct verbs_table *table = &real->table;
	const struct wanted hooked[] = {
		{"ibv_reg_mr", "IBVERBS_1.1", &real->reg_mr, false},
		{"ibv_reg_mr_iova", "IBVERBS_1.7", &real->reg_mr_iova, true},
		{"ibv_reg_mr_iova2", "IBVERBS_1.8", &real->reg_mr_iova2, true},
		{"ibv_reg_mr_ex", "IBVERBS_1.15", &real->reg_mr_ex, true},
		{"ibv_rereg_mr", "IBVERBS_1.1", &real->rereg_mr, false},
		{"ibv_dereg_mr", "IBVERBS_1.1", &real->dereg_mr, false},
		{"ibv_dealloc_pd", "IBVERBS_1.1", &real->dealloc_pd, false},
		{"ibv_import_pd", "IBVERBS_1.10", &real->import_pd, true},
		{"ibv_unimport_pd", "IBVERBS_1.10", &real->unimport_pd, true},
		{"ibv_modify_qp", "IBVERBS_1.1", &real->modify_qp, false},
		{"ibv_destroy_qp", "IBVERBS_1.1", &real->destroy_qp, false},
		{"ibv_destroy_cq", "IBVERBS_1.1", &real->destroy_cq, false},
		{"ibv_close_device", "IBVERBS_1.1", &real->close_device, false},
	};
	const struct wanted for_gate[] = {
		{"ibv_query_qp", "IBVERBS_1.1", &real->gate.query_qp, false},
		{"ibv_modify_qp", "IBVERBS_1.1", &real->gate.modify_qp, false},
		{"ibv_query_srq", "IBVERBS_1.1", &real->gate.query_srq, false},
		{"ibv_resize_cq", "IBVERBS_1.1", &real->gate.resize_cq, false},
		{"ibv_dereg_mr", "IBVERBS_1.1", &real->gate.dereg_mr, false},
		{"ibv_reg_mr_iova2", "IBVERBS_1.8", &real->gate.reg_mr_iova2,
		 true},
		{"ibv_qp_to_qp_ex", "IBVERBS_1.6", &real->gate.qp_to_qp_ex,
		 true},
		{"ibv_query_gid", "IBVERBS_1.1", &real->gate.query_gid, false},
		{"ibv_create_ah", "IBVERBS_1.1", &real->gate.create_ah, false},
		{"ibv_destroy_ah", "IBVERBS_1.1", &real->gate.destroy_ah,
		 false},
	};
	const struct wanted for_odp[] = {
		{"ibv_open_device", "IBVERBS_1.1", &table->open_device, false},
		{"ibv_close_device", "IBVERBS_1.1", &table->close_device,
		 false},
		{"ibv_query_device", "IBVERBS_1.1", &real->query_device, false},
		{"ibv_query_port", "IBVERBS_1.1", &real->query_port, false},
		{"ibv_query_gid", "IBVERBS_1.1", &table->query_gid, false},
		{"ibv_alloc_pd", "IBVERBS_1.1", &table->alloc_pd, false},
		{"ibv_dealloc_pd", "IBVERBS_1.1", &table->dealloc_pd, false},
		{"ibv_create_cq", "IBVERBS_1.1", &table->create_cq, false},
		{"ibv_destroy_cq", "IBVERBS_1.1", &table->destroy_cq, false},
		{"ibv_create_srq", "IBVERBS_1.1", &table->create_srq, false},
		{"ibv_destroy_srq", "IBVERBS_1.1", &table->destroy_srq, false},
		{"ibv_create_qp", "IBVERBS_1.1", &table->create_qp, false},
		{"ibv_modify_qp", "IBVERBS_1.1", &table->modify_qp, false},
		{"ibv_destroy_qp", "IBVERBS_1.1", &table->destroy_qp, false},
		{"ibv_create_ah", "IBVERBS_1.1", &table->create_ah, false},
		{"ibv_destroy_ah", "IBVERBS_1.1", &table->destroy_ah, false},
		{"ibv_reg_mr_iova2", "IBVERBS_1.8", &table->reg_mr_iova2, true},
		{"ibv_dereg_mr", "IBVERBS_1.1", &table->dereg_mr, false},
	};
	/* kept open: the originals must not be unloaded under our hooks */
	void *handle = dl_library_open(&real_library);

	if (!handle)
		return false;
	table->query_device_ex = query_device_ex;
	table->query_port = real->gate.query_port = query_port;
	table->advise_mr = advise_mr;
	table->post_send = post_send;
	table->post_recv = post_recv;
	table->post_srq_recv = post_srq_recv;
	table->poll_cq = poll_cq;
	if (find_all(hooked, sizeof(hooked) / sizeof(hooked[0]), handle,
		     true) &&
	    find_all(for_gate, sizeof(for_gate) / sizeof(for_gate[0]), handle,
		     false) &&
	    find_all(for_odp, sizeof(for_odp) / sizeof(for_odp[0]), handle,
		     false))
		return true;
	dlclose(handle);
	return false;
}

/*
 * No lock: dlopen() takes the loader's, and a constructor that registers memory
 * runs under it. Threads that come first together find the same; one wins.
 */
const struct real_verbs *real_verbs(void)
{
	static struct real_verbs *known;
	struct real_verbs *real, *expected = NULL;

	real = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
	if (real)
		return real;
	real = calloc(1, sizeof(*real));
	if (!real || !find(real)) {
		free(real);
		errno = ENOSYS;
		return NULL;
	}
	if (__atomic_compare_exchange_n(&known, &expected, real, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return real;
	free(real);
	return expected;
}
