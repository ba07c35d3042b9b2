#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# pyverbs goes on with its writes, reads, sends and atomics on a pinned region that another process cuts off and lets grow,
# posted and polled in the old way and by the extended QP and CQ: in the page cache, and on fs-dax.
# on: 6.1-stock-xfs
# limit: 200
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

seconds=10
goes_on() { # FILE KIND
	local recalls
	"$daxmr" run --strategy pinned --quiesce-ms 20000 --log info -- \
		/usr/bin/python3 "$SRC/tests/vm/programs/verbs_pinned.py" "$1" "$seconds" >said 2>log ||
		fail "$(cat said) $(tail -n 60 log)"
	has "$(cat log)" "pinned: $2 file $1"
	has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it'
	recalls=$(grep -c 'others want it: drained in' log)
	test "$recalls" -ge $((seconds / 3)) || fail "$recalls recalls in $seconds s: $(cat log)"
	echo "$2, $recalls recalls: $(cat said)"
}

mount_cached
goes_on "$cached/f" page-cache
insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax; unmount "$cached"' EXIT
goes_on "$DAX/f" fs-dax
