#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every byte that a peer writes, reads, sends or adds is where it belongs, after a new mount too.
# on: new-fixed-xfs new-fixed-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

"$daxmr" run -- "$programs/rdma_pattern" "$DAX/f" /tmp/model 600
cmp "$DAX/f" /tmp/model || fail "the file is not as it must be"
device=$(findmnt -n -o SOURCE "$DAX") mounted=$(findmnt -n -o OPTIONS "$DAX")
umount "$DAX"
mount -o "$mounted" "$device" "$DAX"
cmp "$DAX/f" /tmp/model || fail "the file is not as it must be after a new mount"
# over data that is there, and from a file without blocks
"$daxmr" run --prefetch off -- "$programs/rdma_pattern" "$DAX/f" /tmp/model 200
cmp "$DAX/f" /tmp/model || fail "written over, the file is not as it must be"
