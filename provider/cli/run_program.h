/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Programs that the loader will not load a preload into.
 */
#ifndef DAXMR_CLI_RUN_PROGRAM_H
#define DAXMR_CLI_RUN_PROGRAM_H

/*
 * Warns, one line each, of what will make the preload be ignored when this
 * process becomes the program: changed ids, file capabilities, no loader at
 * all, another machine. A script is its interpreter. Never an error: what
 * cannot be looked at is left to execvp().
 */
void program_warn(const char *name, const char *preload);

#endif
