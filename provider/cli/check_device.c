/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static bool read_attribute(const char *device, const char *name, char *text,
			   size_t size)
{
	char path[PATH_MAX];
	FILE *attribute;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/%s", device,
		 name);
	attribute = fopen(path, "re");
	text[0] = '\0';
	if (!attribute)
		return false;
	if (!fgets(text, (int)size, attribute))
		text[0] = '\0';
	fclose(attribute);
	text[strcspn(text, "\n")] = '\0';
	return text[0];
}

/*
 * A device made in software over a network card ("parent") has no link to its
 * driver, or one to the card's; its description tells.
 */
static void find_driver(struct check_device *device)
{
	char text[128], path[PATH_MAX], target[PATH_MAX], *base;
	ssize_t n;

	if (read_attribute(device->name, "parent", text, sizeof(text))) {
		read_attribute(device->name, "node_desc", text, sizeof(text));
		if (strcmp(text, "rxe") == 0)
			strcpy(device->driver, "rdma_rxe");
		else if (strcmp(text, "Software iWARP stack") == 0)
			strcpy(device->driver, "siw");
		else
			strcpy(device->driver, "unknown");
		return;
	}
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device/driver",
		 device->name);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	base = strrchr(target, '/');
	snprintf(device->driver, sizeof(device->driver), "%s",
		 base ? base + 1 : "unknown");
}

static const char *state_name(enum ibv_port_state state)
{
	switch (state) {
	case IBV_PORT_ACTIVE:
		return "active";
	case IBV_PORT_ACTIVE_DEFER:
		return "active-defer";
	case IBV_PORT_ARMED:
		return "armed";
	case IBV_PORT_INIT:
		return "init";
	case IBV_PORT_DOWN:
		return "down";
	default:
		return "unknown";
	}
}

static const char *link_layer_name(uint8_t link_layer)
{
	if (link_layer == IBV_LINK_LAYER_ETHERNET)
		return "ethernet";
	if (link_layer == IBV_LINK_LAYER_INFINIBAND)
		return "infiniband";
	return "unknown";
}

static void ask_ports(struct check_device *device,
		      const struct real_verbs *real, unsigned int count)
{
	struct ibv_port_attr attr;
	struct check_port *port;
	unsigned int number;

	for (number = 1; number <= count && number <= UINT8_MAX; number++) {
		if (device->ports == CHECK_PORTS ||
		    real->table.query_port(device->context, (uint8_t)number,
					   &attr) != 0)
			continue;
		port = &device->port[device->ports++];
		port->number = number;
		port->state = state_name(attr.state);
		port->link_layer = link_layer_name(attr.link_layer);
		/* IBV_MTU_256 is 1 */
		port->mtu = attr.active_mtu >= IBV_MTU_256 &&
					    attr.active_mtu <= IBV_MTU_4096
				    ? 128u << attr.active_mtu
				    : 0;
		port->is_active = attr.state == IBV_PORT_ACTIVE;
		if (port->is_active)
			device->has_active_port = true;
	}
}

static void ask_odp(struct check_device *device, const struct real_verbs *real)
{
	struct ibv_device *ibv = device->context->device;

	if (odp_caps_query(&real->table, device->context, &device->caps) < 0)
		memset(&device->caps, 0, sizeof(device->caps));
	if (!device->caps.has_odp)
		return;
	odp_trust_get(&real->table, ibv, &device->trust);
	device->is_trusted = odp_trust_ok(&device->trust, ibv);
}

/* libibverbs tries several ways, and its errno is that of the last. */
static void explain_closed(struct check_device *device,
			   const struct ibv_device *ibv)
{
	int error = errno;
	char path[96];

	snprintf(path, sizeof(path), "/dev/infiniband/%s", ibv->dev_name);
	if (access(path, R_OK | W_OK) < 0 && errno == EACCES)
		snprintf(device->problem, sizeof(device->problem),
			 "%s cannot be opened: this user may not read and "
			 "write %s (its owner, group or mode, often set by "
			 "udev rules, have to allow it)",
			 device->name, path);
	else
		snprintf(device->problem, sizeof(device->problem),
			 "%s cannot be opened (%s): %s", device->name, path,
			 strerror(error));
}

void check_device_open(struct check_device *device,
		       const struct real_verbs *real, struct ibv_device *ibv)
{
	struct ibv_device_attr_ex attr;
	int r;

	memset(device, 0, sizeof(*device));
	device->name = ibv_get_device_name(ibv);
	find_driver(device);
	device->context = real->table.open_device(ibv);
	if (!device->context) {
		explain_closed(device, ibv);
		return;
	}
	r = real->table.query_device_ex(device->context, NULL, &attr);
	if (r == 0) {
		snprintf(device->firmware, sizeof(device->firmware), "%.*s",
			 (int)sizeof(attr.orig_attr.fw_ver),
			 attr.orig_attr.fw_ver);
		ask_ports(device, real, attr.orig_attr.phys_port_cnt);
	}
	device->pd = real->table.alloc_pd(device->context);
	if (!device->pd) {
		snprintf(device->problem, sizeof(device->problem),
			 "%s gives no protection domain: %s", device->name,
			 strerror(errno));
		return;
	}
	ask_odp(device, real);
	window_verdict_get(&real->table, ibv, &device->window);
}

void check_device_close(struct check_device *device,
			const struct real_verbs *real)
{
	if (device->pd)
		real->table.dealloc_pd(device->pd);
	if (device->context)
		real->table.close_device(device->context);
}
