#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Calls of the C library, libpmem and libpmem2 that make stores durable, on a file of fs-dax that has a shadow.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 120
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX DAXMR_LOG=info
for name in sync pmem pmem_late; do
	out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so "$BUILD/tests/preload/preload-own-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|no shadow|neither on ext4 nor on xfs'
	has "$out" 'PASSED'
done

left=$(find "$DAX" -name 'own-test-*')
test -z "$left" || fail "left behind: $left"
