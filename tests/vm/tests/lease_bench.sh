#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# On DAX: what an outsider's open costs, a flush at a break and by itself, staging, and the memory of a region.
# on: 6.1-stock-xfs new-stock-xfs
# soak 900
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

status=0
keeper=$BUILD/daxmr-keeper
"$BUILD/lease_open" "$keeper" "$DAX" || status=1
"$BUILD/flush_bench" "$DAX" || status=1
"$BUILD/break_bench" "$keeper" "$DAX" 64 || status=1
"$BUILD/stage_bench" "$keeper" "$DAX" 64 || status=1
"$BUILD/memory_bench" "$keeper" "$DAX" 100 || status=1
test $status = 0 || fail "a goal was missed"
