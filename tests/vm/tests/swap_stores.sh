#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A shadow takes the place of an fs-dax file's mappings and the file takes it back under threads that store: none is lost, and who sleeps there at a process-shared futex is woken; in the long form flags and MAP_SYNC stay.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 300
# soak 900
# short
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

export DAXMR_TEST_DAX_DIR=$DAX
for program in swap sleepers ${DAXMR_TEST_LONG:+cases}; do
	out=$("$BUILD/unit-lease-$program" 2>&1) || fail "$out"
	# The one case that 6.1 has no userfaultfd for; a second would not go.
	case $CONFIG-$program in
	6.1-*-cases)
		has "$out" 'SKIPPED . userfaultfd__on_the_file_is_refused'
		out=$(grep -vE 'SKIPPED . (userfaultfd__on_the_file_is_refused|1 test)|^ *1 SKIPPED' <<<"$out")
		;;
	esac
	has_not "$out" 'SKIPPED|may not hold up'
	has "$out" 'PASSED'
done
