#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A daemon that links libdaxmr is told when the kernel took its file (the keeper stopped, the file system frozen) and when there is no room for it: events, what daxmr_flush() says, what others see meanwhile; in the end all is in the file.
# on: 6.1-stock-ext4 new-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

trap 'echo 45 >/proc/sys/fs/lease-break-time' EXIT
export DAXMR_TEST_DAX_DIR=$DAX
out=$("$programs/library_trouble" 2>&1) || fail "$out"
has_not "$out" 'SKIPPED'
has "$out" 'PASSED  \] 3 test'
echo "$out"
