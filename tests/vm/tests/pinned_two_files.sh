#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A file is wanted while the work on another one, whose peer does not answer, is waited for: it is free within its own quiesce_ms, and the other one within its own.
# Only the queue pair that is stuck is severed.
# on: 6.1-stock-xfs new-stock-xfs
# limit: 300
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

slow_ms=20000 most_ms=8000

# two_files DIRECTORY
two_files() {
	"$daxmr" run --log info -- "$programs/pinned_two_files" "$1/slow" "$1/file" "$slow_ms" "$most_ms" "$daxmr" >said 2>log || fail "$(cat said log)"
	test "$(grep -c 'severed, it could not be drained: its work was not done in time' log)" -eq 1 || fail "not the stuck QP alone: $(cat log)"
	has "$(cat log)" '/file: others want it: .*, 0 QPs severed'
	has "$(cat log)" '/slow: others want it: .*, 1 QPs severed'
	has_not "$(cat log)" 'still have it|the kernel took it'
	cat said
}

two_files /dev/shm
case $CONFIG in 6.1-*) ;; *) exit 0 ;; esac # no other kernel pins fs-dax
insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
two_files "$DAX"
