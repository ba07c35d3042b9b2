/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device says of its on-demand paging (ODP). Saying is not proving:
 * see trust.h.
 */
#ifndef DAXMR_ODP_CAPS_H
#define DAXMR_ODP_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "verbs_table.h"

/* Bits of enum ibv_odp_transport_cap_bits, for each transport. */
struct odp_caps {
	bool has_odp;
	bool has_implicit;
	uint32_t rc;
	uint32_t uc;
	uint32_t ud;
	uint32_t xrc;
};

/*
 * Asks the device. A device or kernel that does not know the question has no
 * ODP: *ret says so and the answer is 0. Returns -errno only where the device
 * did not answer at all (*ret untouched).
 */
int odp_caps_query(const struct verbs_table *verbs, struct ibv_context *context,
		   struct odp_caps *ret);

/*
 * The RC operations that an MR with these access flags may be asked for and
 * that the device cannot do on ODP memory: bits of
 * enum ibv_odp_transport_cap_bits, 0 where nothing is missing.
 */
uint32_t odp_caps_missing(const struct odp_caps *caps, unsigned int access);

/*
 * Writes the names of the bits ("send recv write"; "none") into text, always
 * terminated, and returns text.
 */
char *odp_caps_names(uint32_t bits, char *text, size_t size);

#endif
