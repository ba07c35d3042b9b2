/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SAY_H
#define SAY_H

#include <stdint.h>

/*
 * One line on standard error: the program, the sentence and, for an error
 * (-errno), what it means. Returns the error.
 */
int say(int error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* "16M": bytes. 0, or -EINVAL and a sentence. */
int read_size(const char *option, const char *text, uint64_t *ret);

/* "10.0.0.1:7471", in two; host has room for 256. */
int read_address(const char *text, char *host, char *port);

#endif
