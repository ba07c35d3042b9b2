/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Libraries that the program has loaded, in whatever way: the originals behind
 * our hooks are looked for in their handles.
 */
#ifndef DAXMR_DL_LIBRARY_H
#define DAXMR_DL_LIBRARY_H

struct dl_library {
	const char *soname;
	const char *name; /* before "." or "-": packages rename their copies */
	const char *symbol;  /* which a copy must have, to be one, */
	const char *version; /* in this version */
};

/*
 * Its handle, to be closed by dlclose(); NULL: it is not loaded. Takes the
 * loader's lock, as all of dlopen().
 */
void *dl_library_open(const struct dl_library *library);

#endif
