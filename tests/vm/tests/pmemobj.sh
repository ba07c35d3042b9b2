#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A pool of libpmemobj on fs-dax, which is locked and closed, and a file that a program treats so: registered, durable, the lock as long as the mapping.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 120
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX DAXMR_LOG=info
for program in kept_locks pmemobj; do
	out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so "$BUILD/tests/preload/preload-$program" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|no shadow|neither on ext4 nor on xfs'
	has "$out" 'PASSED'
done
left=$(find "$DAX" -type f)
test -z "$left" || fail "left behind: $left"
