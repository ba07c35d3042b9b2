/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate_post COUNT [patched]: posts that cost nothing, COUNT times, with the
 * table as it is or patched and its gate open. gate_post.sh counts the
 * instructions.
 */
#include <stdlib.h>
#include <string.h>

#include "gate/gate.h"

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		     struct ibv_send_wr **bad_wr)
{
	(void)qp;
	(void)wr;
	(void)bad_wr;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct gate_verbs verbs;
	static struct verbs_context context;
	struct ibv_qp qp = {.context = &context.context};
	struct ibv_send_wr wr = {.wr_id = 0}, *bad_wr;
	long count = argc > 1 ? atol(argv[1]) : 1000;

	context.context.ops.post_send = post_send;
	if (argc > 2 && gate_attach(&context.context, &verbs))
		return 1;
	while (count--)
		ibv_post_send(&qp, &wr, &bad_wr);
	return 0;
}
