#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What a lease costs does not grow with the number of files, nor do threads, keepers and descriptors.
# on: 6.1-stock-xfs new-stock-xfs
# soak 900
# short
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# The short form has more than the 1,024 descriptors of the soft limit.
files=1200
test -z "${DAXMR_TEST_LONG:-}" || files=10000
"$BUILD/lease_many" "$BUILD/daxmr-keeper" "$DAX" "$files" || fail "$files files"
left=$(find "$DAX" -name 'lease-many-*')
test -z "$left" || fail "left behind: $left"
