#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# An outsider's open of a leased file takes a few signal round trips, a flush what comparing and copying take: on DAX.
# on: 6.1-stock-xfs new-stock-xfs
# soak 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

status=0
"$BUILD/lease_open" "$BUILD/daxmr-keeper" "$DAX" || status=1
"$BUILD/flush_bench" "$DAX" || status=1
test $status = 0 || fail "a goal was missed"
