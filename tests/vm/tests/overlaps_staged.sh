#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Staged: ranges that overlap one are registered and deregistered while a peer writes into it at full speed; every byte is checked.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 180
# short
# soak 600
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

rounds=10
test -z "${DAXMR_TEST_LONG:-}" || rounds=200
"$daxmr" run --strategy staged --log info -- "$programs/rdma_overlaps" "$DAX/f" "$rounds" 2>log || fail "$(cat log)"
has "$(cat log)" 'staged: fs-dax file'
has_not "$(cat log)" 'error'
