/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The port that the trust test uses.
 */
#ifndef DAXMR_ODP_TRUST_PORT_H
#define DAXMR_ODP_TRUST_PORT_H

#include "trust_loop.h"

/*
 * Fills in the loop's port and addresses, the likeliest address first.
 * Returns 0, or -1 with a reason.
 */
int port_find(struct loop *loop);

#endif
