#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Under RDMA traffic the disk, or a quota, gets full and the file's blocks are shared (reflink), or the file system is frozen: the keeper alone meets that, says so, and all arrives.
# on: new-stock-xfs
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

no_keeper() {
	! pgrep -x daxmr-keeper >/dev/null
}

# run CASE OWNER: fails where the trouble was none: what the file system has set
# aside for itself it may give back when there is no room, and then there is.
run() {
	make_file "$DAX/f" 4
	chown "$2" "$DAX/f"
	if "$daxmr" run --flush-ms 50 --flush-cpu 100 --log info -- "$programs/rdma_full" "$1" "$DAX/f" >out 2>log; then
		cat out
		return
	fi
	cat out log | grep -q 'there is room for all of it' || fail "$1: $(cat out log)"
	rm "$DAX"/f.*
	until_is "the keeper gone" no_keeper
	rm "$DAX/f"
	return 1
}

full() { # OWNER ERROR
	run full "$1" || run full "$1" || run full "$1" || fail "three times there was room: $(cat out log)"
	has "$(cat log)" "daxmr\[[0-9]+\] warn: .*(merging|flushing) failed and is tried again.*: $2"
	has "$(cat out)" "full: msync: $2"
	# The other process has changed no byte of it.
	has "$(cat log)" 'merged, HELD'
	has_not "$(cat log)" ' conflicts: '
}

run frozen 0
has_not "$(cat log)" 'daxmr\[[0-9]+\] error'
full 0 'No space left on device'

rm "$DAX"/*
unmount "$DAX"
mount -o dax=always,usrquota /dev/pmem0 "$DAX"
trap 'unmount "$DAX"' EXIT
"$programs/quota" "$DAX" 1000 65536
full 1000 'Disk quota exceeded'

# What there is no room for is refused, and nothing has been allocated.
"$programs/quota" "$DAX" 1000 6144
truncate -s 4M "$DAX/sparse"
chown 1000 "$DAX/sparse"
if "$daxmr" run -- "$programs/rdma_full" full "$DAX/sparse" 2>log; then
	fail "a file beyond the quota was registered"
fi
cat log
has "$(cat log)" 'quota of user 1000 leaves [0-9]+ KiB'
has "$(cat log)" 'Disk quota exceeded'
test "$(stat -c %b "$DAX/sparse")" = 0 || fail "it has got blocks"

if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi
