/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a keeper must not have from the program that started it.
 */
#ifndef DAXMR_LEASE_KEEPER_SETTLE_H
#define DAXMR_LEASE_KEEPER_SETTLE_H

/*
 * Ordinary scheduling on every CPU that is not set aside, limits as wide as
 * they may be made, signals' default actions, the name, and core files without
 * the data of files. What the kernel does not allow stays as it was.
 */
void keeper_settle(void);

#endif
