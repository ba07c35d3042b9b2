/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why something was refused, in one sentence. lease/ logs nothing: a function
 * that returns -errno leaves its sentence here, for the thread that called it,
 * and the caller does with it what it likes. A success leaves it as it was.
 */
#ifndef DAXMR_LEASE_REASON_H
#define DAXMR_LEASE_REASON_H

#include <stddef.h>

#define REASON_MAX 1024

/* Keeps the sentence, cut to REASON_MAX; returns `error`; errno is kept. */
int reason_set(int error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The sentence of this thread's last refusal; "" before the first. */
const char *reason_text(void);

/*
 * The path a descriptor is open on, as /proc shows it, its end where it is
 * longer than size; text.
 */
#define REASON_FILE_MAX 400
const char *reason_file(int fd, char *text, size_t size);

#endif
