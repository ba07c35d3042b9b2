#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A program's own calls on files that it has leased, on DAX: none waits for its own lease, a change breaks none.
# on: 6.1-stock-xfs 6.1-stock-ext4 new-stock-xfs new-stock-ext4
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX DAXMR_LOG=info
for name in calls threads locks; do
	out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so "$BUILD/tests/preload/preload-own-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
	grep -E '^(lease back|flock gone)' <<<"$out" || test "$name" = threads
done
out=$("$BUILD/unit-lease-own" 2>&1) || fail "$out"

left=$(find "$DAX" -name 'own-test-*' -o -name 'lease-test-*')
test -z "$left" || fail "left behind: $left"
