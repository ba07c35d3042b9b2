/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mr_init_attr.h"
#include "standin.h"

#define EXPORT __attribute__((visibility("default")))

/* The macros of verbs.h are for callers. */
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

EXPORT struct ibv_mr *ibv_reg_mr_ex(struct ibv_pd *pd,
				    struct ibv_mr_init_attr *attr);
EXPORT struct ibv_mr *standin_reg_mr_1_0(void *pd, void *addr, size_t length,
					 int access);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct standin_control control;
static uint32_t keys;
static struct ibv_mr *refused_mr; /* the last that was not deregistered */

EXPORT struct standin_control *standin_control(void)
{
	return &control;
}

static void count(enum standin_call call)
{
	__atomic_add_fetch(&control.seen.calls[call], 1, __ATOMIC_RELEASE);
}

enum wanted {
	SHARED_FILE, /* on a disk */
	PRIVATE_FILE,
	SHARED_READ_ONLY /* of whatever file */
};

static int is_wanted(enum wanted wanted, const char *protection,
		     const char *name)
{
	int is_shared = protection[3] == 's';

	if (wanted == SHARED_READ_ONLY)
		return is_shared && protection[1] != 'w';
	return is_shared == (wanted == SHARED_FILE) && name[0] == '/' &&
	       strncmp(name, "/memfd:", 7) != 0;
}

static int has_mapping(const void *addr, size_t length, enum wanted wanted)
{
	unsigned long from = (unsigned long)addr, to = from + length, start,
		      end;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[5000], name[4096], protection[8];
	int found = 0, saved_errno = errno;

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4095s", &start, &end,
			   protection, name) == 4 &&
		    start < to && end > from &&
		    is_wanted(wanted, protection, name))
			found = 1;
	}
	if (maps)
		fclose(maps);
	errno = saved_errno;
	return found;
}

/* Who has seen the call counted sees what was asked for. */
static void take_note(enum standin_call call, void *addr, size_t length,
		      uint64_t iova, unsigned int access)
{
	pthread_mutex_lock(&lock);
	control.seen.addr = addr;
	control.seen.length = length;
	control.seen.iova = iova;
	control.seen.access = access;
	pthread_mutex_unlock(&lock);
	count(call);
}

static struct ibv_mr *make_mr(struct ibv_pd *pd, void *addr, size_t length,
			      unsigned int access)
{
	void (*before)(void) =
		__atomic_exchange_n(&control.before, NULL, __ATOMIC_SEQ_CST);
	int refuse = __atomic_load_n(&control.refuse_all, __ATOMIC_RELAXED);
	struct ibv_mr *mr;

	if (before)
		before();
	if (!refuse && !(access & IBV_ACCESS_ON_DEMAND))
		refuse = control.refuse_plain;
	if (!refuse && control.refuse_privates &&
	    has_mapping(addr, length, PRIVATE_FILE))
		refuse = control.refuse_privates;
	if (!refuse && (control.refuse_files || control.refuse_memory) &&
	    !(access & IBV_ACCESS_ON_DEMAND))
		refuse = has_mapping(addr, length, SHARED_FILE)
				 ? control.refuse_files
				 : control.refuse_memory;
	if (!refuse && control.refuse_read_only &&
	    has_mapping(addr, length, SHARED_READ_ONLY))
		refuse = control.refuse_read_only;
	if (refuse) {
		errno = refuse;
		return NULL;
	}
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return NULL;
	mr->context = pd->context;
	mr->pd = pd;
	mr->addr = addr;
	mr->length = length;
	mr->lkey = __atomic_exchange_n(&control.next_key, 0, __ATOMIC_RELAXED);
	if (!mr->lkey)
		mr->lkey = __atomic_add_fetch(&keys, 1, __ATOMIC_RELAXED);
	mr->rkey = mr->lkey;
	return mr;
}

EXPORT struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *addr,
				       size_t length, uint64_t iova,
				       unsigned int access)
{
	take_note(STANDIN_REG_MR_IOVA2, addr, length, iova, access);
	return make_mr(pd, addr, length, access);
}

/* As the real ones, these two go through the PLT and so meet a hook again. */
EXPORT struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
				 int access)
{
	count(STANDIN_REG_MR);
	return ibv_reg_mr_iova2(pd, addr, length, (uintptr_t)addr,
				(unsigned int)access);
}

EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr,
				      size_t length, uint64_t iova, int access)
{
	count(STANDIN_REG_MR_IOVA);
	return ibv_reg_mr_iova2(pd, addr, length, iova, (unsigned int)access);
}

EXPORT struct ibv_mr *ibv_reg_mr_ex(struct ibv_pd *pd,
				    struct ibv_mr_init_attr *attr)
{
	take_note(STANDIN_REG_MR_EX, attr->addr, attr->length,
		  attr->comp_mask & MR_INIT_ATTR_IOVA ? attr->iova
						      : (uintptr_t)attr->addr,
		  (unsigned int)attr->access);
	return make_mr(pd, attr->addr, attr->length,
		       (unsigned int)attr->access);
}

EXPORT int ibv_rereg_mr(struct ibv_mr *mr, int flags, struct ibv_pd *pd,
			void *addr, size_t length, int access)
{
	(void)pd;
	count(STANDIN_REREG_MR);
	control.seen.flags = flags;
	control.seen.addr = addr;
	control.seen.length = length;
	control.seen.access = (unsigned int)access;
	if (control.refuse_all) {
		errno = control.refuse_all;
		return IBV_REREG_MR_ERR_CMD;
	}
	if (flags & IBV_REREG_MR_CHANGE_TRANSLATION && control.refuse_files &&
	    has_mapping(addr, length, SHARED_FILE)) {
		errno = control.refuse_files;
		return IBV_REREG_MR_ERR_CMD;
	}
	if (flags & IBV_REREG_MR_CHANGE_TRANSLATION) {
		mr->addr = addr;
		mr->length = length;
	}
	return 0;
}

EXPORT int ibv_dereg_mr(struct ibv_mr *mr)
{
	void (*after)(void);

	count(STANDIN_DEREG_MR);
	__atomic_store_n(&control.seen.dropped_at, mr->addr, __ATOMIC_RELAXED);
	if (control.refuse_dereg) {
		int refuse = control.refuse_dereg;

		refused_mr = mr;
		if (control.refuse_once)
			control.refuse_dereg = control.refuse_once = 0;
		return refuse;
	}
	if (refused_mr == mr)
		refused_mr = NULL;
	free(mr);
	after = __atomic_exchange_n(&control.after, NULL, __ATOMIC_RELAXED);
	if (after)
		after();
	return 0;
}

EXPORT int ibv_close_device(struct ibv_context *context)
{
	(void)context;
	if (control.closing)
		control.closing();
	free(refused_mr);
	refused_mr = NULL;
	return 0;
}

EXPORT int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	if (mask & IBV_QP_STATE)
		__atomic_store_n(&qp->state, attr->qp_state, __ATOMIC_RELAXED);
	return 0;
}

EXPORT int ibv_query_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask,
			struct ibv_qp_init_attr *init)
{
	(void)mask;
	memset(attr, 0, sizeof(*attr));
	memset(init, 0, sizeof(*init));
	attr->qp_state = __atomic_load_n(&qp->state, __ATOMIC_RELAXED);
	return 0;
}

/* The old ABI: another structure behind pd, nothing may look into it. */
EXPORT struct ibv_mr *standin_reg_mr_1_0(void *pd, void *addr, size_t length,
					 int access)
{
	(void)pd;
	(void)addr;
	(void)length;
	(void)access;
	count(STANDIN_REG_MR_1_0);
	errno = EXDEV; /* nobody else sets this one */
	return NULL;
}
__asm__(".symver standin_reg_mr_1_0, ibv_reg_mr@IBVERBS_1.0");

/* The device. It has ODP when told so, and cannot be opened for a test. */
static int query_device_ex(struct ibv_context *context,
			   const struct ibv_query_device_ex_input *input,
			   struct ibv_device_attr_ex *attr, size_t size)
{
	(void)context;
	(void)input;
	memset(attr, 0, size);
	if (control.has_odp) {
		attr->odp_caps.general_caps = IBV_ODP_SUPPORT;
		attr->odp_caps.per_transport_caps.rc_odp_caps = 0x3f;
	}
	return 0;
}

EXPORT struct ibv_pd *standin_pd(void)
{
	static struct ibv_device device = {.name = "standin0"};
	static struct verbs_context context = {
		.query_device_ex = query_device_ex,
		.sz = sizeof(struct verbs_context),
		.context =
			{
				.device = &device,
				.cmd_fd = -1,
				.async_fd = -1,
				.abi_compat = __VERBS_ABI_IS_EXTENDED,
			},
	};
	static struct ibv_pd pd = {.context = &context.context};

	return &pd;
}

/* The same PD each time, as if freed memory were taken again at once. */
EXPORT struct ibv_pd *ibv_import_pd(struct ibv_context *context,
				    uint32_t handle)
{
	static struct ibv_pd pd;

	pd = (struct ibv_pd){context, handle};
	return &pd;
}

EXPORT void ibv_unimport_pd(struct ibv_pd *pd)
{
	pd->handle = UINT32_MAX;
}

EXPORT struct ibv_mr *ibv_import_mr(struct ibv_pd *pd, uint32_t handle)
{
	struct ibv_mr *mr = calloc(1, sizeof(*mr));

	if (mr)
		*mr = (struct ibv_mr){
			.context = pd->context, .pd = pd, .handle = handle};
	return mr;
}

EXPORT void ibv_unimport_mr(struct ibv_mr *mr)
{
	free(mr);
}

/* The rest of what is looked up when the first hook is called. */
#define ABSENT(name)                                                           \
	EXPORT int standin_##name(void) __asm__(#name);                        \
	int standin_##name(void)                                               \
	{                                                                      \
		errno = ENODEV;                                                \
		return 0;                                                      \
	}
ABSENT(ibv_open_device)
ABSENT(ibv_query_device)
ABSENT(ibv_query_port)
ABSENT(ibv_query_gid)
ABSENT(ibv_alloc_pd)
ABSENT(ibv_dealloc_pd)
ABSENT(ibv_create_cq)
ABSENT(ibv_destroy_cq)
ABSENT(ibv_create_srq)
ABSENT(ibv_destroy_srq)
ABSENT(ibv_create_qp)
ABSENT(ibv_destroy_qp)
ABSENT(ibv_query_srq)
ABSENT(ibv_resize_cq)
ABSENT(ibv_qp_to_qp_ex)
ABSENT(ibv_create_ah)
ABSENT(ibv_destroy_ah)
