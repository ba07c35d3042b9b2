/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PDs that were imported (ibv_import_pd()). The one that they were made from is
 * in another context, of another process mostly, and what is posted there no
 * gate of ours holds up: a region of such a PD cannot be taken away quietly.
 * Nor may anything of ours be in it that has to go before it does, since
 * ibv_unimport_pd() cannot fail.
 */
#ifndef DAXMR_GATE_PD_H
#define DAXMR_GATE_PD_H

#include <stdbool.h>

#include <infiniband/verbs.h>

/* What the hooks report: after the real call, and before; true: it was one. */
void gate_pd_imported(struct ibv_pd *pd);
bool gate_pd_going(const struct ibv_pd *pd);

/*
 * Or is the same kernel object, in that context: a parent domain on one, which
 * nobody reports. Also where there was no memory to remember which.
 */
bool gate_pd_is_imported(const struct ibv_pd *pd);

/* The context is closed. */
void gate_pd_forget_locked(const struct ibv_context *context);

#endif
