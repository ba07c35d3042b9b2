#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# All kinds of work on a pinned fs-dax region while another process cuts it off and lets it grow, twice a second:
# batches, chains with inline data, two QPs that fill one CQ, a peer with finite rnr_retry, receives in the region.
# on: 6.1-stock-xfs 6.1-stock-ext4
# soak 300
# short
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
seconds=10
test -z "${DAXMR_TEST_LONG:-}" || seconds=60
quiesce_ms=20000
"$daxmr" run --strategy pinned --quiesce-ms "$quiesce_ms" --log info -- "$programs/rdma_pinned_kinds" "$DAX/f" "$seconds" >said 2>log ||
	fail "$(cat said) $(tail -n 60 log)"
cat said
has "$(cat log)" 'pinned: fs-dax file'
has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it'
cuts=$(sed -nE 's/^([0-9]+) cuts.*/\1/p' said)
recalls=$(grep -c 'others want it: drained in' log)
test "$cuts" -ge $((seconds / 3)) || fail "$cuts cuts in $seconds s: $(cat log)"
# where the next cut comes before it is back it has nothing to hand over
test "$recalls" -ge $((seconds / 3)) || fail "$recalls recalls of $cuts cuts: $(cat log)"
longest=$(sed -nE 's/.* took ([0-9]+) ms/\1/p' said)
test "$longest" -lt "$quiesce_ms" || fail "a truncate took $longest ms"
