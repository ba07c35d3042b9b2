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

/*
 * What it comes to, for who counts refusals. Callers that leave sentences of
 * their own here have kinds of their own, from REASON_KINDS on.
 */
enum reason_kind {
	REASON_OTHER,
	REASON_MEMORY,	    /* the kernel has none left, or a limit */
	REASON_DESCRIPTORS, /* there are none left */
	REASON_NO_SPACE,    /* on the file system */
	REASON_TIMEOUT,
	REASON_BUSY,	    /* others have the file open, mapped, leased */
	REASON_NOT_OWNER,   /* of the file */
	REASON_FILE_SYSTEM, /* on which a lease guards nothing */
	REASON_LEASES_OFF,  /* on this machine */
	REASON_TERMS,	    /* another region of the file has others */
	REASON_REFLINK,	    /* blocks that two files share */
	REASON_PRIVILEGE,   /* for userfaultfd */
	REASON_UNSEEN,	    /* /proc does not say what has to be known */
	REASON_KEEPER,	    /* cannot be started, reached, or does not answer */
	REASON_KINDS
};

/*
 * Keeps the sentence, cut to REASON_MAX; returns `error`; errno is kept. The
 * kind is that of the error, mostly REASON_OTHER.
 */
int reason_set(int error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int reason_set_kind(unsigned int kind, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* This thread's, which has no sentence yet, or gets one elsewhere. */
void reason_mark(unsigned int kind);

/* That of this thread's last refusal; REASON_OTHER before the first. */
unsigned int reason_kind(void);

/* The sentence of this thread's last refusal; "" before the first. */
const char *reason_text(void);

/*
 * The path a descriptor is open on, as /proc shows it, its end where it is
 * longer than size; text.
 */
#define REASON_FILE_MAX 400
const char *reason_file(int fd, char *text, size_t size);

/* Why memory of ours was not to be had, behind what errno says; or "". */
const char *reason_memory(int error);

#endif
