#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A QP at full speed is stopped, drained by a marker and let go again while its MR is replaced: no completion fails,
# comes twice, late or not at all, no byte is lost, and an exactly sized CQ is not overrun. On the provider's own code.
# So is one that sends datagrams. A QP in any state is left as it is, and one that is reset or destroyed meanwhile holds up no drain.
# on: 6.1-stock-xfs new-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

"$programs/rdma_gate" 20
"$programs/rdma_gate" 20 batches
"$programs/rdma_gate" 20 extended
"$programs/rdma_datagrams" 20
"$programs/gate_states"
