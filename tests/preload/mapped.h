/* SPDX-License-Identifier: BSD-2-Clause */
/* What lies at an address of this process, as /proc has it. */
#ifndef DAXMR_TESTS_MAPPED_H
#define DAXMR_TESTS_MAPPED_H

#include <stdbool.h>

/* What is mapped there, by its name; text, this thread's until the next. */
const char *name_at(const void *addr);

bool is_shadow(const void *addr);

/* Has this page's mapping the flag (VmFlags of smaps)? */
bool has_flag(const void *addr, const char *flag);

#endif
