/* SPDX-License-Identifier: BSD-2-Clause */
/* What the calling thread may do: CAP_... of linux/capability.h. */
#ifndef DAXMR_LEASE_PRIVILEGE_H
#define DAXMR_LEASE_PRIVILEGE_H

#include <stdbool.h>

bool privilege_has(unsigned int capability);

#endif
