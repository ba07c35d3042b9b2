/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device says of its on-demand paging. A pure reading of
 * ibv_query_device_ex(): nothing here believes what it reads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "caps.h"

/*
 * Bits younger than the headers of rdma-core 44 (the kernel's
 * IB_ODP_SUPPORT_FLUSH and IB_ODP_SUPPORT_ATOMIC_WRITE). The kernel
 * reports them to every libibverbs.
 */
#define CAP_FLUSH	 (1u << 6)
#define CAP_ATOMIC_WRITE (1u << 7)

static const struct {
	uint32_t bit;
	const char *name;
} cap_names[] = {
	{IBV_ODP_SUPPORT_SEND, "send"},
	{IBV_ODP_SUPPORT_RECV, "recv"},
	{IBV_ODP_SUPPORT_WRITE, "write"},
	{IBV_ODP_SUPPORT_READ, "read"},
	{IBV_ODP_SUPPORT_ATOMIC, "atomic"},
	{IBV_ODP_SUPPORT_SRQ_RECV, "srq-recv"},
	{CAP_FLUSH, "flush"},
	{CAP_ATOMIC_WRITE, "atomic-write"},
};

int odp_caps_query(const struct verbs_table *verbs, struct ibv_context *context,
		   struct odp_caps *ret)
{
	struct ibv_device_attr_ex attr;
	struct odp_caps caps = {0};
	int err;

	/* An old provider fills less of it than this header knows. */
	memset(&attr, 0, sizeof(attr));
	err = verbs->query_device_ex(context, NULL, &attr);
	switch (err) {
	case 0:
		break;
	case EOPNOTSUPP:
	case ENOSYS:
	case EINVAL: /* what a kernel before 4.2 says of the question */
		*ret = caps;
		return 0;
	default:
		return err > 0 ? -err : -EIO;
	}

	caps.has_odp = attr.odp_caps.general_caps & IBV_ODP_SUPPORT;
	if (caps.has_odp) {
		caps.has_implicit =
			attr.odp_caps.general_caps & IBV_ODP_SUPPORT_IMPLICIT;
		caps.rc = attr.odp_caps.per_transport_caps.rc_odp_caps;
		caps.uc = attr.odp_caps.per_transport_caps.uc_odp_caps;
		caps.ud = attr.odp_caps.per_transport_caps.ud_odp_caps;
		caps.xrc = attr.xrc_odp_caps;
	}
	*ret = caps;
	return 0;
}

uint32_t odp_caps_missing(const struct odp_caps *caps, unsigned int access)
{
	/* An MR without any flag can still be sent from. */
	uint32_t needed = IBV_ODP_SUPPORT_SEND;

	if (access & IBV_ACCESS_LOCAL_WRITE)
		needed |= IBV_ODP_SUPPORT_RECV;
	if (access & IBV_ACCESS_REMOTE_WRITE)
		needed |= IBV_ODP_SUPPORT_WRITE;
	if (access & IBV_ACCESS_REMOTE_READ)
		needed |= IBV_ODP_SUPPORT_READ;
	if (access & IBV_ACCESS_REMOTE_ATOMIC)
		needed |= IBV_ODP_SUPPORT_ATOMIC;
	return needed & ~caps->rc;
}

char *odp_caps_names(uint32_t bits, char *text, size_t size)
{
	size_t used = 0;

	if (!size)
		return text;
	text[0] = '\0';
	for (size_t i = 0; i < sizeof(cap_names) / sizeof(cap_names[0]); i++) {
		int n;

		if (!(bits & cap_names[i].bit))
			continue;
		n = snprintf(text + used, size - used, "%s%s", used ? " " : "",
			     cap_names[i].name);
		/* A name that does not fit whole is left out with all after. */
		if (n < 0 || (size_t)n >= size - used) {
			text[used] = '\0';
			return text;
		}
		used += (size_t)n;
		bits &= ~cap_names[i].bit;
	}
	if (bits) {
		int n = snprintf(text + used, size - used, "%s0x%x",
				 used ? " " : "", bits);

		if (n < 0 || (size_t)n >= size - used)
			text[used] = '\0';
	} else if (!used) {
		snprintf(text, size, "none");
	}
	return text;
}
