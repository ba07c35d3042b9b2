/* SPDX-License-Identifier: BSD-2-Clause */
/* cmocka wants these four before itself. */
#ifndef DAXMR_TESTS_UNIT_H
#define DAXMR_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
