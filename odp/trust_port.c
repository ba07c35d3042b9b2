/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The port that the trust test sends from and to, and the addresses by which
 * it may reach itself: the first active port that has one.
 */
#include <stdio.h>
#include <string.h>

#include "trust_id.h"
#include "trust_port.h"

/* How likely a GID is to lead back to us; 0: not at all. */
static int gid_rank(struct ibv_device *device, uint8_t port, int index,
		    const union ibv_gid *gid)
{
	static const union ibv_gid none;
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char name[64], type[32];
	int rank;

	if (!memcmp(gid, &none, sizeof(none)))
		return 0;
	if (!memcmp(gid->raw, mapped, sizeof(mapped)))
		rank = 3; /* an IPv4 address */
	else if (gid->raw[0] == 0xfe && (gid->raw[1] & 0xc0) == 0x80)
		rank = 1; /* link-local: the address may not be there at all */
	else
		rank = 2;
	snprintf(name, sizeof(name), "ports/%u/gid_attrs/types/%d", port,
		 index);
	if (device_attribute(device, name, type, sizeof(type)) &&
	    strstr(type, "v2"))
		rank += 3; /* RoCE v2: needs no more than an IP address */
	return rank;
}

/* Keeps the likeliest addresses, the best first, earlier ones before later. */
static void find_gids(struct loop *loop, uint8_t port)
{
	int rank[LOOP_ADDRESSES] = {0};
	int entries = loop->port_attr.gid_tbl_len;

	/* Big tables are empty but for their start. */
	if (entries > 256)
		entries = 256;
	for (int i = 0; i < entries; i++) {
		struct loop_address address = {.is_global = 1,
					       .gid_index = (uint8_t)i};
		unsigned int at;
		int this_rank;

		if (loop->verbs->query_gid(loop->context, port, i,
					   &address.gid))
			continue;
		this_rank =
			gid_rank(loop->context->device, port, i, &address.gid);
		if (!this_rank)
			continue;
		/* Those that it is better than move back, the last one out. */
		for (at = LOOP_ADDRESSES; at && rank[at - 1] < this_rank; at--)
			if (at < LOOP_ADDRESSES) {
				rank[at] = rank[at - 1];
				loop->address[at] = loop->address[at - 1];
			}
		if (at == LOOP_ADDRESSES)
			continue;
		rank[at] = this_rank;
		loop->address[at] = address;
		if (loop->addresses < LOOP_ADDRESSES)
			loop->addresses++;
	}
}

static bool usable_port(struct loop *loop, uint8_t port)
{
	struct ibv_port_attr *attr = &loop->port_attr;
	int err;

	memset(attr, 0, sizeof(*attr));
	loop->addresses = 0;
	err = loop->verbs->query_port(loop->context, port, attr);
	if (err) {
		loop_fail(loop, err, "port %u cannot be queried", port);
		return false;
	}
	if (attr->state != IBV_PORT_ACTIVE)
		return false;
	/* InfiniBand: the lid will do, unless the port says that it won't. */
	if (attr->link_layer != IBV_LINK_LAYER_ETHERNET && attr->lid &&
	    !(attr->flags & IBV_QPF_GRH_REQUIRED))
		loop->address[loop->addresses++] = (struct loop_address){0};
	else
		find_gids(loop, port);
	return loop->addresses;
}

int port_find(struct loop *loop)
{
	/* More than 255 are not on a device with ODP. */
	for (unsigned int port = 1; port <= loop->attr.orig_attr.phys_port_cnt;
	     port++) {
		if (usable_port(loop, (uint8_t)port)) {
			loop->port = (uint8_t)port;
			loop->reason[0] = '\0';
			return 0;
		}
	}
	return loop_fail(loop, 0, "no port is active and has an address");
}
