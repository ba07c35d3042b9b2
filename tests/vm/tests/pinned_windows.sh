#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The program's own memory windows on a pinned region hold nobody up: others cut the file off and let it grow within quiesce_ms. A peer goes on by the key of a window of type 1; one of type 2 is severed and can be bound again.
# Without daxmr's hand on them the MR could not go, and a truncate would wait for the lease-break time.
# on: 6.1-stock-xfs new-stock-xfs
# limit: 400
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

rounds=5 most_ms=20000

# windows FILE: both types.
windows() {
	"$daxmr" run --quiesce-ms "$most_ms" --log info -- "$programs/pinned_windows" "$1" 1 "$rounds" "$most_ms" >said 2>log || fail "$(tail said) $(cat log)"
	has "$(cat said)" 'all is freed'
	has_not "$(cat log)" 'severed: it is bound to nothing|still have it|cannot be|the kernel took it'
	sort -t : -k 2 -n said | tail -n 1
	"$daxmr" run --quiesce-ms "$most_ms" --log info -- "$programs/pinned_windows" "$1" 2 "$rounds" "$most_ms" >said 2>log || fail "$(tail said) $(cat log)"
	has "$(cat said)" 'all is freed'
	test "$(grep -c 'severed: it is bound to nothing' log)" -eq "$rounds" || fail "not one line for each window: $(cat log)"
	has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it'
	sort -t : -k 2 -n said | tail -n 1
}

windows /dev/shm/windows
case $CONFIG in 6.1-*) ;; *) exit 0 ;; esac # no other kernel pins fs-dax
insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
windows "$DAX/windows"
