#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The problem of the beginning, solved: a pinned fs-dax region is cut off and grown by another process under load, which returns at once; every local operation before and after succeeds.
# Twenty regions of the file go behind one gate, drained once.
# on: 6.1-stock-xfs 6.1-stock-ext4
# soak 900
# short
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# median FIELD: of what stands behind it in the log or the output, in microseconds.
median() {
	sed -nE "s/.*$1 ([0-9]+) us.*/\1/p" said log | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
rounds=5 regions=20
test -z "${DAXMR_TEST_LONG:-}" || rounds=100
"$daxmr" run --strategy pinned --quiesce-ms 20000 --log info -- "$programs/rdma_pinned" "$DAX/f" "$rounds" "$((regions - 1))" >said 2>log ||
	fail "$(cat said) $(tail -n 60 log)"
has "$(cat log)" 'pinned: fs-dax file'
recalls=$(grep -c 'others want it: drained in' log)
test "$recalls" -ge $((2 * rounds * regions)) || fail "$recalls recalls of $((2 * rounds * regions)): $(cat log)"
back=$(grep -c 'bytes registered again in' log)
test "$back" -ge $((2 * rounds * regions)) || fail "$back regions came back of $((2 * rounds * regions)): $(cat log)"
has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it|before all was flushed'
tail -n 1 said
echo "median of $recalls: cut in $(median 'cut in') us, grown in $(median 'grown in') us," \
	"of that drained in $(median 'drained in') us and deregistered in $(median 'deregistered in') us"
