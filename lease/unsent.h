/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages to a keeper that found no room in its socket: one that is stopped
 * (SIGSTOP) reads none, and the engine's thread, for which all of the program
 * waits, must not wait for it. They are kept in order, with their descriptors,
 * and none is dropped while there is somebody who may read it.
 */
#ifndef DAXMR_LEASE_UNSENT_H
#define DAXMR_LEASE_UNSENT_H

#include <stdbool.h>

#include "keeper_proto.h"

struct unsent_message;

/* Empty where all is 0. */
struct unsent {
	struct unsent_message *first;
	struct unsent_message *last;
};

/*
 * Sends one and does not wait. 0, or -errno: -EAGAIN there is no room; -EPIPE
 * there is nobody; -ETOOMANYREFS (unix(7)).
 */
int unsent_try(int socket, const struct keeper_message *message, const int *fds,
	       unsigned int count);

/* Keeps a copy, and dups of the descriptors. 0, or -errno: -ENOMEM, -EMFILE. */
int unsent_keep(struct unsent *unsent, const struct keeper_message *message,
		const int *fds, unsigned int count);

/*
 * Sends what there is room for. 0: nothing is kept any more; -EAGAIN; -EPIPE:
 * nothing is kept, as there is nobody.
 */
int unsent_send(struct unsent *unsent, int socket);

void unsent_drop(struct unsent *unsent);

#endif
