#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A peer writes as fast as it can into 64 MiB of a DAX file: an outsider's open takes three flushes at most, the peer loses no more than the keeper's CPU.
# on: 6.1-stock-xfs
# soak 3600
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

breaks=50
test -z "${DAXMR_TEST_LONG:-}" || breaks=1000
make_file "$DAX/f" 64
"$daxmr" run --strategy=staged --flush-ms=0 -- "$programs/rdma_opens" "$DAX/f" "$breaks" || fail "a goal was missed"
