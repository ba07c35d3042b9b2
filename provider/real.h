/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libibverbs' own functions, the originals behind our hooks.
 *
 * Nothing of ours links libibverbs: a program that never touches verbs must not
 * load it because of us. It is there when a verb is called, possibly loaded by
 * dlopen() without RTLD_GLOBAL (every Python extension does that), so the
 * originals are looked for through the library's own handle, in the version we
 * were built for: an unversioned reference may find the IBVERBS_1.0 wrappers,
 * whose structures have another layout. Where another interposer stands behind
 * us, hooks go on to it.
 */
#ifndef DAXMR_REAL_H
#define DAXMR_REAL_H

#include "dl_library.h"
#include "gate/gate.h"
#include "verbs_table.h"

/*
 * rdma-core 58's, which bookworm's header lacks; only members up to dmah are
 * known here, and a mask with other bits is passed on unread.
 */
struct ibv_mr_init_attr;

struct real_verbs {
	struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t length,
				 int access);
	struct ibv_mr *(*reg_mr_iova)(struct ibv_pd *pd, void *addr,
				      size_t length, uint64_t iova, int access);
	struct ibv_mr *(*reg_mr_iova2)(struct ibv_pd *pd, void *addr,
				       size_t length, uint64_t iova,
				       unsigned int access);
	struct ibv_mr *(*reg_mr_ex)(struct ibv_pd *pd,
				    struct ibv_mr_init_attr *attr);
	int (*rereg_mr)(struct ibv_mr *mr, int flags, struct ibv_pd *pd,
			void *addr, size_t length, int access);
	int (*dereg_mr)(struct ibv_mr *mr);
	int (*dealloc_pd)(struct ibv_pd *pd);
	struct ibv_pd *(*import_pd)(struct ibv_context *context,
				    uint32_t handle);
	void (*unimport_pd)(struct ibv_pd *pd);
	int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
	int (*destroy_qp)(struct ibv_qp *qp);
	int (*destroy_cq)(struct ibv_cq *cq);
	int (*close_device)(struct ibv_context *context);
	/* What inline calls of <infiniband/verbs.h> fall back to. */
	int (*query_device)(struct ibv_context *context,
			    struct ibv_device_attr *attr);
	int (*query_port)(struct ibv_context *context, uint8_t port,
			  struct _compat_ibv_port_attr *attr);
	/* For odp/: the library's own, whatever other interposers there are. */
	struct verbs_table table;
	/* For gate/: likewise. */
	struct gate_verbs gate;
};

/*
 * NULL and errno ENOSYS where no libibverbs is loaded or it lacks what has been
 * there since rdma-core 16. reg_mr_iova, reg_mr_iova2, reg_mr_ex, import_pd
 * and unimport_pd are newer and may be NULL. Thread-safe; valid for ever.
 */
const struct real_verbs *real_verbs(void);

/*
 * The libibverbs that the originals come from: by its soname, or, where a
 * package carries a copy under another (Python wheels do), the first that has
 * the calls.
 */
extern const struct dl_library real_library;

#endif
