#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A control group with little memory and a short lease-break time refuse a shadow with their numbers, before anything has changed.
# on: 6.1-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

box=/sys/fs/cgroup/daxmr-limits
break_time=$(cat /proc/sys/fs/lease-break-time)
clean_up() {
	echo "$break_time" >/proc/sys/fs/lease-break-time
	! test -e "$box" || until_is "empty: $box" rmdir "$box"
}
trap clean_up EXIT

# register FILE: in the control group, if there is one.
register() {
	(
		! test -e "$box" || echo "$BASHPID" >"$box/cgroup.procs"
		exec "$daxmr" run --strategy staged --log info -- "$programs/rdma_ordinary" 1 "$1"
	) >out 2>log
}

# is_refused FILE PATTERN...: and no block of it was allocated.
is_refused() {
	local file=$1 pattern
	shift
	! register "$file" || fail "it was registered: $(cat log)"
	for pattern; do
		has "$(cat log)" "$pattern"
	done
	test "$(stat -c %b "$file")" = 0 || fail "blocks of $file were allocated"
}

mkdir "$box"
echo 32M >"$box/memory.max"
truncate -s 48M "$DAX/f"
is_refused "$DAX/f" 'a shadow of 48\.0 MiB does not fit in the control group' 'of 32\.0 MiB: raise /sys/fs/cgroup/daxmr-limits/memory\.max'
echo 256M >"$box/memory.max"
register "$DAX/f" || fail "with more memory: $(cat log)"
has "$(cat log)" 'staged: fs-dax file'
until_is "empty: $box" rmdir "$box"

echo 1 >/proc/sys/fs/lease-break-time
truncate -s 1500M "$DAX/g"
is_refused "$DAX/g" 'a shadow of 1\.5 GiB, .* in the 1 s that an opener waits for it' 'write more to /proc/sys/fs/lease-break-time'
