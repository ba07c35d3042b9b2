/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dlsym() and dlvsym() for programs that look verbs up by themselves.
 */
#ifndef DAXMR_DL_HOOKS_H
#define DAXMR_DL_HOOKS_H

struct dl_hook {
	const char *name;
	const char *version;
	void *hook;
};

/* Ends with a NULL name. */
extern const struct dl_hook dl_hooks[];

#endif
