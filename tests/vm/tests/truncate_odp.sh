#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Truncate under load returns at once; inside goes on, beyond fails cleanly, growing heals; holes.
# on: new-fixed-xfs new-fixed-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

"$daxmr" run -- "$programs/rdma_truncate" "$DAX/t"
"$daxmr" run --prefetch off -- "$programs/rdma_holes" "$DAX/h"
