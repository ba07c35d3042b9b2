#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A private copy takes the place of a private mapping of an fs-dax file under threads that store: none is lost.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX
out=$("$BUILD/unit-lease-private" 2>&1) || fail "$out"
has_not "$out" 'SKIPPED|userfaultfd'
has "$out" 'PASSED'
