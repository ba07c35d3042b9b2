/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_H
#define SERVER_H

#include "store.h"

/*
 * Serves the store at "ADDRESS:PORT" until SIGTERM or SIGINT. 0, or -errno and
 * a sentence.
 */
int serve(struct store *store, const char *address);

#endif
