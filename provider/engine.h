/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What libdaxmr.so does for libdaxmr-preload.so. The preload holds the hooks
 * alone; the regions and leases live in the library, so that a daemon that
 * links it and runs under the preload as well has them once.
 */
#ifndef DAXMR_ENGINE_H
#define DAXMR_ENGINE_H

#include "file_guard.h"
#include "file_io.h"
#include "file_map.h"
#include "file_sync.h"
#include "gate/gate.h"
#include "gate/gate_cm.h"
#include "gate/gate_pd.h"
#include "kept_locks.h"
#include "leases.h"
#include "pinned.h"
#include "region.h"

struct engine {
	struct ibv_mr *(*reg)(const struct region_call *call);
	int (*rereg)(const struct real_verbs *real, struct ibv_mr *mr,
		     int flags, struct ibv_pd *pd, void *addr, size_t length,
		     int access);
	int (*dereg)(const struct real_verbs *real, struct ibv_mr *mr);

	/* Without leases hooks on files look at this alone. */
	const _Atomic unsigned int *leased_files;
	bool (*opening)(struct file_guard *guard, int dir, const char *path,
			int flags);
	bool (*changing)(struct file_guard *guard, int fd);
	bool (*punching)(struct file_guard *guard, void *addr, size_t length);
	int (*truncate)(struct file_guard *guard, const char *path,
			int64_t length, int *ret_error);
	void (*end)(struct file_guard *guard);
	bool (*closing)(struct file_guard *guard, unsigned int first,
			unsigned int last);
	void (*closed)(const struct file_guard *guard);

	int (*lease_acquire)(const struct lease_want *want, struct lease **ret);
	int (*lease_release)(struct lease *lease, uint64_t offset,
			     uint64_t length, int64_t deadline_ns);
	enum recall_state (*lease_state)(const struct lease *lease);
	uint64_t (*lease_reports)(const struct lease *lease);

	/* Without shadows hooks that have to do with them look at this alone.
	 */
	const _Atomic unsigned int *shadows;
	int (*lease_stage)(struct lease *lease, uint64_t offset,
			   uint64_t length);
	int (*lease_unstage)(struct lease *lease, uint64_t offset,
			     uint64_t length);
	int (*sync_memory)(const void *addr, size_t length,
			   bool *ret_has_other);
	int (*sync_file)(int fd, uint64_t offset, uint64_t length);
	int (*sync_files)(int fd);
	bool (*io)(struct own_io *io, ssize_t *ret);
	bool (*sendfile)(const struct file_copy *copy, ssize_t *ret);
	bool (*copy_range)(const struct file_copy *copy, ssize_t *ret);
	int (*splice)(const struct file_copy *copy);
	int (*mapped)(const struct file_map *map);
	int (*mapping_over)(const struct file_map *map);
	void (*unmapping)(void);
	bool (*moving)(const struct own_move *move, void **ret, int *ret_error);
	int (*moved)(void *addr, size_t length);
	bool (*advising)(void *addr, size_t length, int advice, int *ret_error);
	int (*punch_shadow)(struct file_guard *guard, void *addr, size_t length,
			    size_t *ret_length);
	bool (*shifting)(const struct file_guard *guard);

	/* Which QPs there are (gate.h). */
	void (*qp_modifying)(struct ibv_qp *qp, enum ibv_qp_state state);
	void (*qp_modified)(struct ibv_qp *qp, enum ibv_qp_state state);
	struct gate_qp *(*qp_destroying)(struct ibv_qp *qp);
	void (*qp_destroyed)(struct gate_qp *record, int result);
	struct gate_cq *(*cq_destroying)(struct ibv_cq *cq);
	void (*cq_destroyed)(struct gate_cq *record, int result);
	/* What librdmacm has made (gate_cm.h). */
	void (*cm_channel_made)(const void *channel);
	void (*cm_channel_going)(const void *channel);
	void (*cm_qp_made)(struct cm_id *id, gate_disconnect_fn *disconnect);
	void (*cm_id_going)(const struct cm_id *id);
	/* PDs that are not the process's alone (gate_pd.h). */
	void (*pd_imported)(struct ibv_pd *pd);
	bool (*pd_going)(const struct ibv_pd *pd);
	/* What is driven by direct verbs (gate_direct.h). */
	int (*direct_begin)(struct ibv_qp *qp, struct ibv_cq *cq);
	void (*direct_undo)(struct ibv_qp *qp, struct ibv_cq *cq);
	/* Before and after the real call, which hands on what it got. */
	struct pinned *(*context_closing)(struct ibv_context *context);
	void (*context_closed)(struct pinned *left);
	bool (*has_pd)(const struct ibv_pd *pd); /* pinned.h */
	/* Locks of descriptors that are closed (kept_locks.h). */
	const _Atomic unsigned int *kept_locks;
	void (*locked)(int fd);
	void (*mapped_locked)(int fd, const void *addr, size_t length);
	void (*closing_locked)(unsigned int first, unsigned int last);
	void (*unmapped_locked)(const void *addr, size_t length);
	void (*moved_locked)(const void *old, size_t old_size, const void *now,
			     size_t now_size);
};

/*
 * NULL where the two are not of one build (version is the preload's own
 * DAXMR_ENGINE_VERSION): the hooks then pass everything on. Not for programs.
 */
#define DAXMR_ENGINE_VERSION 17
__attribute__((visibility("default"))) const struct engine *
daxmr_private_engine(unsigned int version);

#endif
