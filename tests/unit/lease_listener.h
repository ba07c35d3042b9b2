/* SPDX-License-Identifier: BSD-2-Clause */
/* A daxmr-keeper that listens, for tests of keepers from outside. */
#ifndef DAXMR_TESTS_LEASE_LISTENER_H
#define DAXMR_TESTS_LEASE_LISTENER_H

#include <sys/types.h>

struct listener {
	pid_t pid;
	int messages; /* its standard error */
	char path[100];
};

/* Once it listens on listener->path, which is chosen where it is "". */
void listener_start(struct listener *listener);

/* A peer of it that has connected and says nothing yet. */
int listener_peer(const struct listener *listener);

/* How many descriptors it has, once it is done with all that came before. */
unsigned int listener_fds(const struct listener *listener);

/* Ends it by the signal and returns its status; the sentences it wrote. */
int listener_end(struct listener *listener, int number, char *text,
		 size_t size);

/* `daxmr-keeper ARGUMENTS...` until it ends: its status and its sentences. */
int keeper_command_run(char *const *argv, char *text, size_t size);

#endif
