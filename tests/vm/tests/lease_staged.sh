#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A file of fs-dax with shadows, a keeper and others: what each sees of the other, and what is left when program or keeper is killed; what one region more costs.
# on: 6.1-stock-xfs 6.1-stock-ext4 new-stock-xfs new-stock-ext4
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX
programs="staged staged_read"
test "${CONFIG##*-}" != xfs || programs+=" regions"
for program in $programs; do
	out=$("$BUILD/unit-lease-$program" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|userfaultfd'
	has "$out" 'PASSED'
done
