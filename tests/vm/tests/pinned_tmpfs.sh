#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A file of tmpfs is pinned under a lease for who asks for that region: what comes into it is in the file after others have cut that off and let it grow.
# A peer of librdmacm's that is idle hears by an event that it was cut off. Without being asked for, tmpfs is ordinary memory.
# on: 6.1-stock-xfs new-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# Room for the file, and not for another half of it.
mkdir small
mount -t tmpfs -o size=1300k none small
trap 'unmount small' EXIT
"$daxmr" run --quiesce-ms 20000 --log info "$programs/pinned_asked" "$PWD/small/asked" >said 2>log || fail "$(cat said log)"
has "$(cat log)" 'pinned: tmpfs .*/small/asked'
has "$(cat log)" 'others want it: drained in'
"$daxmr" run --quiesce-ms 20000 --log info "$programs/rdma_severed" /dev/shm/severed 10.0.0.1 >said 2>log || fail "$(cat said log)"
has "$(cat log)" '1 QPs severed'
"$daxmr" run --log info --strategy pinned -- "$programs/rdma_pattern" /dev/shm/f /tmp/model 20 >said 2>log || fail "$(cat said log)"
has_not "$(cat log)" 'pinned: '
