#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A program's own reads and writes on a file of fs-dax of which parts have shadows: calls and mapping are one.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX DAXMR_LOG=info
for program in io io_model; do
	out=$("$BUILD/unit-lease-$program" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|userfaultfd'
	has "$out" 'PASSED'
done
out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so "$BUILD/tests/preload/preload-own-io" 2>&1) || fail "$out"
has_not "$out" 'SKIPPED|no shadow|neither on ext4 nor on xfs'
has "$out" 'PASSED'

left=$(find "$DAX" -name 'own-test-*' -o -name 'lease-test-*')
test -z "$left" || fail "left behind: $left"
