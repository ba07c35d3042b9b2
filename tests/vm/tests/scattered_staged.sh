#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A region over 1,024 mappings of one page each, in no order, is one shadow of one file, and every byte gets there; pieces that there are no descriptors for are refused with what to raise, and nothing has changed.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

"$daxmr" run --strategy staged --log info -- "$programs/rdma_scattered" "$DAX" >out 2>log || fail "$(cat log)"
has "$(cat out)" '^errno E'
has "$(cat log)" 'RLIMIT_NOFILE'
cat out
grep RLIMIT log
has_not "$(cat log)" 'map and unmap'
