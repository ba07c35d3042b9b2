#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What others do to a file of fs-dax that has shadows, under each on_conflict and on_shrink, and the write-back: shadow and file end as a model says.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 120
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX
for program in unit-lease-policy unit-lease-policy_staged; do
	out=$("$BUILD/$program" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|userfaultfd'
	has "$out" 'PASSED'
done
