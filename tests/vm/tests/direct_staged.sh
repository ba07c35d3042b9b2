#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Staged while direct I/O of a slow disk is in flight into and out of the range: what it brings is in mapping, file and what a peer reads; what it takes is what was there.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 240
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

delay=/sys/bus/pseudo/drivers/scsi_debug/delay
modprobe sd_mod
modprobe scsi_debug dev_size_mb=8 delay=0
disk_is_there() {
	disk=$(find /sys/bus/pseudo/devices/adapter0/ -path '*/block/*' -prune -printf '%f\n' 2>/dev/null | head -n 1)
	test -b "/dev/$disk"
}
until_is "a disk" disk_is_there
"$daxmr" run --strategy staged --log info -- "$programs/rdma_direct" "$DAX/f" "/dev/$disk" "$delay" 2>log ||
	fail "$(cat log)"
has "$(cat log)" 'staged: fs-dax file'
