/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daxmr.h: RDMA registration of files in persistent memory.
 *
 * The library does the registrations of a program that runs under
 * libdaxmr-preload.so (daxmr-run(1)); what it says of them a program can ask
 * for here. All calls are thread-safe and may be used in a forked child.
 */
#ifndef DAXMR_H
#define DAXMR_H

#ifdef __cplusplus
extern "C" {
#endif

#define DAXMR_VERSION_MAJOR 0
#define DAXMR_VERSION_MINOR 1
#define DAXMR_VERSION_PATCH 0

/*
 * The version of the library that is running, "0.1.0"; the macros above are
 * those of the header that was compiled with. Never NULL, never to be freed.
 */
const char *daxmr_version(void);

/*
 * Why the last registration that daxmr refused or could not do failed, in this
 * thread: one sentence without a newline that names the file or range, the
 * device, the cause and what to do. Valid until the thread's next registration.
 * Empty, never NULL, when nothing has failed in this thread. errno, as the verb
 * set it, is not changed by this call.
 */
const char *daxmr_errormsg(void);

#ifdef __cplusplus
}
#endif

#endif
