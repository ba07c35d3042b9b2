#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# File leases are what daxmr takes them to be: a test for each fact, on both file systems.
# on: 6.1-stock-xfs 6.1-stock-ext4 new-stock-xfs new-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# The program puts these back itself, unless it is killed.
break_time=$(cat /proc/sys/fs/lease-break-time)
restore() {
	fsfreeze -u "$DAX" 2>/dev/null || true
	echo "$break_time" >/proc/sys/fs/lease-break-time
	echo 1 >/proc/sys/fs/leases-enable
}
trap restore EXIT
modprobe overlay
mkdir "$DAX/facts"
status=0
out=$("$programs/lease_facts" "$DAX/facts" 2>&1) || status=$?
test $status = 0 || fail "status $status: $out"
# Every group ran to its end, and nothing was left out.
groups=$(grep -c '^\[  PASSED  \]' <<<"$out")
test "$groups" = 7 || fail "$groups groups of tests of 7 have passed: $out"
has_not "$out" 'SKIPPED|FAILED|ERROR'
