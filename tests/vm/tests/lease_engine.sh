#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Leases on fs-dax: refused with a reason, recalled, retaken, whatever becomes of program and keeper.
# on: 6.1-stock-xfs 6.1-stock-ext4 new-stock-xfs new-stock-ext4
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# All that is tested on the build machine's page cache, on DAX.
export DAXMR_TEST_DAX_DIR=$DAX
for name in grant keeper engine flush flush-trouble; do
	out=$("$BUILD/unit-lease-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
done

left=$(find "$DAX" -name 'lease-test-*')
test -z "$left" || fail "left behind: $left"
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi

run() { # CASE
	"$programs/lease_engine" "$1" "$DAX" "$BUILD/daxmr-keeper" || fail "$1"
}

case $CONFIG in
new-*-xfs) run reflinked ;;
esac
run revoked
run frozen
run overlay
run full
