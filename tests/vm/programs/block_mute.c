/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * block_mute ADDRESS PORT: a client of examples/02-blockstore whose machine is
 * gone. Its queue pair is reset behind the connection manager's back: from then
 * on nothing is answered, and nobody is told.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "link.h"

int main(int argc, char **argv)
{
	struct link_target target = {.length = 65536, .depth = 1};
	struct ibv_qp_attr reset = {.qp_state = IBV_QPS_RESET};
	static struct link link;

	if (argc != 3 || strlen(argv[1]) >= sizeof(target.host) ||
	    strlen(argv[2]) >= sizeof(target.port))
		return 2;
	strcpy(target.host, argv[1]);
	strcpy(target.port, argv[2]);
	target.memory = malloc(target.length);
	if (!target.memory || link_open(&link, &target)) {
		fprintf(stderr, "block_mute: %s\n", link.why);
		return 1;
	}
	if (ibv_modify_qp(link.id->qp, &reset, IBV_QP_STATE)) {
		perror("block_mute: its queue pair cannot be reset");
		return 1;
	}
	printf("mute\n");
	fflush(stdout);
	pause();
	return 1;
}
