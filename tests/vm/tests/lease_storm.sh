#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A hundred openers in a loop, some of them killed: everybody gets in, the keeper costs little, the lease comes back.
# on: 6.1-stock-xfs new-stock-xfs new-stock-ext4
# soak 180
# short
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

seconds=5
test -z "${DAXMR_TEST_LONG:-}" || seconds=60
"$BUILD/lease_storm" "$BUILD/daxmr-keeper" "$DAX" "$seconds" || fail "the storm of $seconds s"
left=$(find "$DAX" -name 'lease-storm-*')
test -z "$left" || fail "left behind: $left"
