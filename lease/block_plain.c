/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks, as any processor can do it: block.h. */
#include "block_code.h"

const struct block_code block_plain = {is_same, take, digest};
