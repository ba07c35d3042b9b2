#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Under RDMA traffic the disk gets full and the file's blocks are shared (reflink), or the file system is frozen: the keeper alone meets that, says so, and all arrives.
# on: new-stock-xfs
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

run() { # CASE
	make_file "$DAX/f" 4
	"$daxmr" run --flush-ms 50 --flush-cpu 100 --log info -- "$programs/rdma_full" "$1" "$DAX/f" >out 2>log ||
		fail "$1: $(cat out log)"
	cat out
}

run frozen
has_not "$(cat log)" 'daxmr\[[0-9]+\] error'
run full
has "$(cat log)" 'daxmr\[[0-9]+\] warn: .*(merging|flushing) failed and is tried again.*: No space left on device'
# The other process has changed no byte of it.
has "$(cat log)" 'merged, HELD'
has_not "$(cat log)" ' conflicts: '
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi
