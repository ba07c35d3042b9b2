#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A leased file on fs-dax is flushed before others get it, and not a byte is written after the kernel took the lease.
# on: 6.1-stock-xfs 6.1-stock-ext4 new-stock-xfs new-stock-ext4
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# All that is tested on the build machine's page cache, on DAX.
export DAXMR_TEST_DAX_DIR=$DAX
for name in changes ranges; do
	out=$("$BUILD/unit-lease-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
done

run() { # CASE KEEPER
	"$programs/lease_flushes" "$1" "$DAX" "$2" || fail "$1"
}

run revoked "$programs/daxmr-keeper-slow"
run frozen "$BUILD/daxmr-keeper"
run full "$BUILD/daxmr-keeper"
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi
