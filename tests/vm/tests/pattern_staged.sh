#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Staged: every byte that a peer writes, reads, sends or adds is where it belongs, and who opens the file sees what was complete.
# on: 6.1-stock-ext4 new-stock-xfs
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

"$daxmr" run --log info -- "$programs/rdma_pattern" "$DAX/f" /tmp/model 200 2>log || fail "$(cat log)"
has "$(cat log)" 'staged: fs-dax file'
cmp "$DAX/f" /tmp/model || fail "the file is not as it must be"
"$daxmr" run -- "$programs/rdma_outsider" "$DAX/o" 15 || fail "see above"
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi

# daxmr check knows before, and what is missing.
out=$("$daxmr" check "$DAX/f") || fail "$out"
has "$out" "$DAX/f on rxe0: staged$"
has "$out" 'lease +would be granted'
trap 'echo 1 >/proc/sys/fs/leases-enable' EXIT
echo 0 >/proc/sys/fs/leases-enable
status=0
out=$("$daxmr" check --json "$DAX/f") || status=$?
test "$status" = 1 || fail "without leases daxmr check ended with $status: $out"
has "$out" '"verdict": ?"refused"'
has "$out" '"lease": ?".*leases-enable'
echo 1 >/proc/sys/fs/leases-enable

device=$(findmnt -n -o SOURCE "$DAX") mounted=$(findmnt -n -o OPTIONS "$DAX")
unmount "$DAX"
mount -o "$mounted" "$device" "$DAX"
cmp "$DAX/f" /tmp/model || fail "the file is not as it must be after a new mount"
# over data that is there, on a device whatever it can do
"$daxmr" run --strategy staged -- "$programs/rdma_pattern" "$DAX/f" /tmp/model 50 || fail "see above"
cmp "$DAX/f" /tmp/model || fail "written over, the file is not as it must be"
