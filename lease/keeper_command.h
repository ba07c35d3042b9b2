/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr-keeper as people start it: with options.
 */
#ifndef DAXMR_LEASE_KEEPER_COMMAND_H
#define DAXMR_LEASE_KEEPER_COMMAND_H

#include <stdbool.h>

/* Whether the descriptors are there that a program starts its keeper with. */
bool keeper_command_is_kept(void);

/* Does what the options say. Returns the exit status. */
int keeper_command(int argc, char **argv);

#endif
