/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of mapping.h share: mapping.c (where a mapping is), smaps.c
 * (what smaps says beside that).
 */
#ifndef DAXMR_LEASE_MAPPING_PARTS_H
#define DAXMR_LEASE_MAPPING_PARTS_H

#include "mapping.h"

/* A line of maps or the first of a mapping in smaps. */
bool mapping_parse(const char *line, struct mapping *ret,
		   const char **ret_name);

#endif
