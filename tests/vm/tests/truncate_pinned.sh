#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The problem of the beginning, solved: a pinned fs-dax region is cut off and grown by another process under load, which returns at once; every local operation before and after succeeds.
# Twenty regions of the file go behind one gate, drained once. With on_recall=sever the same work is cut off instead, and a peer of librdmacm's that is idle hears of it by an event.
# on: 6.1-stock-xfs 6.1-stock-ext4
# soak 4800
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
rounds=3 regions=20
if test -n "${DAXMR_TEST_LONG:-}"; then
	case $CONFIG in *-xfs) rounds=500 ;; *) rounds=100 ;; esac
fi
"$daxmr" run --strategy pinned --quiesce-ms 20000 --log info -- "$programs/rdma_pinned" "$DAX/f" "$rounds" "$((regions - 1))" >said 2>log ||
	fail "$(cat said) $(tail -n 60 log)"
has "$(cat log)" 'pinned: fs-dax file'
recalls=$(grep -c 'others want it: drained in' log)
test "$recalls" -ge $((2 * rounds * regions)) || fail "$recalls recalls of $((2 * rounds * regions)): $(cat log)"
back=$(grep -c 'bytes registered again in' log)
test "$back" -ge $((2 * rounds * regions)) || fail "$back regions came back of $((2 * rounds * regions)): $(cat log)"
has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it|before all was flushed'
tail -n 1 said
cut=$(median 'cut in') drained=$(median 'drained in') deregistered=$(median 'deregistered in')
echo "median of $recalls: cut in $cut us, grown in $(median 'grown in') us," \
	"of that drained in $drained us and deregistered in $deregistered us"

# The same for each, of which one in a hundred may have met a busy build
# machine: a round is a truncate that cuts off, then one that grows.
each=$(grep 'others want it: drained in' log | awk -v regions="$regions" '
	# what the line has behind the words
	function us(words) { return match($0, words " [0-9]+") ? substr($0, RSTART + length(words) + 1, RLENGTH) + 0 : 0 }
	function judge(took) {
		ratio = took / gone[truncates++]
		if (ratio > worst) worst = ratio
		over += ratio > 10
	}
	FILENAME == "-" {
		turn = int(n / regions)
		n++
		if (us("drained in") + us("deregistered in") > gone[turn])
			gone[turn] = us("drained in") + us("deregistered in")
		next
	}
	/cut in/ { judge(us("cut in")); judge(us("grown in")) }
	END { printf "%d truncates, the worst took %.2f times its drain and deregistration, more than 10 times: %d\n", truncates, worst, over }' - said)
echo "$each"
if test -n "${DAXMR_TEST_LONG:-}"; then
	test "$cut" -le $((10 * (drained + deregistered))) || fail "a truncate takes $cut us"
	test "$recalls" -eq $((2 * rounds * regions)) || fail "$recalls recalls: not known whose is whose"
	test "${each##* }" -le $((2 * rounds / 100)) || fail "$each"
fi

case $CONFIG in *-xfs) ;; *) exit 0 ;; esac # it is the same on both
"$daxmr" run --strategy pinned --on-recall sever "$programs/rdma_pinned" "$DAX/g" 1 >said 2>log &&
	fail "nothing has failed: $(cat said log)"
# the first that fails, and nobody else flushes; the program does not live to see more
has "$(cat log)" 'Work Request Flushed Error'
"$daxmr" run "$programs/rdma_severed" "$DAX/h" 10.0.0.1 >said 2>log || fail "$(cat said log)"
