#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Leases through mappings on fs-dax, whatever became of descriptor and path, and more of them than descriptors.
# on: 6.1-stock-ext4 new-stock-xfs
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX
for name in remap description limit; do
	out=$("$BUILD/unit-lease-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
done

for case in bind-mount covered other-file-systems orphan; do
	"$programs/lease_mapping" "$case" "$DAX" "$BUILD/daxmr-keeper" || fail "$case"
done

left=$(find "$DAX" -name 'lease-test-*')
test -z "$left" || fail "left behind: $left"
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi
