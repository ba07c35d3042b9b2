/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where libdaxmr-preload.so is, and how it gets into LD_PRELOAD.
 */
#ifndef DAXMR_CLI_RUN_PRELOAD_H
#define DAXMR_CLI_RUN_PRELOAD_H

#define PRELOAD_NAME "libdaxmr-preload.so"

/*
 * The absolute path, to be freed; NULL where it is nowhere, after a sentence
 * that says where it should be.
 */
char *preload_find(void);

/*
 * Appends the path to this process's LD_PRELOAD, unless the preload is in it
 * already. 0, or an exit status after a sentence.
 */
int preload_add(const char *path);

#endif
