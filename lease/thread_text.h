/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sentences of a thread: each has a page for them, mapped when the first is
 * written and gone with the thread. They are not in its static storage (TLS):
 * of that a library that is loaded by dlopen() gets some hundred bytes, or
 * cannot be loaded. No lock and no malloc(): a sentence may be written in a
 * signal handler.
 */
#ifndef DAXMR_LEASE_THREAD_TEXT_H
#define DAXMR_LEASE_THREAD_TEXT_H

#define THREAD_TEXT_MAX 1024

enum thread_text {
	THREAD_TEXT_REASON, /* reason.h */
	THREAD_TEXT_LAST,   /* what daxmr_errormsg() says */
	THREAD_TEXTS
};

/* THREAD_TEXT_MAX bytes; NULL: no memory. errno is kept. */
char *thread_text_write(enum thread_text which);

/* "" before it is written. */
const char *thread_text(enum thread_text which);

#endif
