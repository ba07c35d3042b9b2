#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a lease costs does not grow with the number of files, nor do threads, keepers and descriptors.
# on: 6.1-stock-xfs new-stock-xfs
# soak 900
# short
# limit: 240
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# A few are more than there may be descriptors, for which the program lowers the limit.
files=300
test -z "${DAXMR_TEST_LONG:-}" || files=10000
"$BUILD/lease_many" "$BUILD/daxmr-keeper" "$DAX" "$files" || fail "$files files"
left=$(find "$DAX" -name 'lease-many-*')
test -z "$left" || fail "left behind: $left"
