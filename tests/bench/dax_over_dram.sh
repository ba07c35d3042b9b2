#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# In the guest: Debian's perftest, unchanged, with its server's buffer in a DAX
# file under daxmr, over the same in DRAM without daxmr.  Pairs, one after the
# other, the order changing; the median of their ratios is what counts.
#
#     dax_over_dram.sh bandwidth|latency|PROGRAM odp|staged|staged+write-back PAIRS [ITERATIONS]
#
# PROGRAM: one of them alone. ITERATIONS: of a run, else what `bandwidth` and
# `latency` want for an answer that repeats. Of ib_send_lat both ends wait for
# events (sizes.sh): libibverbs reads from a channel for each.
# shellcheck source=tests/bench/perftest.sh
. "$SRC/tests/bench/perftest.sh"
# shellcheck source=tests/bench/budget.sh
. "$SRC/tests/bench/budget.sh"

what=$1 way=$2 pairs=$3 iterations=${4:-}
failed=0
make_file "$DAX/f" 8

# budget PROGRAM "at least"|"at most" GOAL OPTIONS...
budget() {
	local program=$1 sense=$2 goal=$3 n order where drams=() daxes=() unit=MB/s events=()
	local -A pair
	shift 3
	test "$sense" = 'at least' || unit=us
	test "$program" != ib_send_lat || events=(-e)
	for where in DRAM "$way"; do
		warm_up "$where" "$program" "${events[@]}" -s 64 -n 10
	done
	for n in $(seq "$pairs"); do
		if test $((n % 2)) = 1; then
			order="DRAM $way"
		else
			order="$way DRAM"
		fi
		for where in $order; do
			once "$where" "$program" "${events[@]}" "$@"
			pair[$where]=$measured
		done
		echo "# pair $n: dax ${pair[$way]}, dram ${pair[DRAM]}"
		drams+=("${pair[DRAM]}") daxes+=("${pair[$way]}")
	done
	budget_line "$way: $program${events[*]:+ -e} $*" "$unit" DRAM "$sense" "$goal" "${daxes[@]}" , "${drams[@]}" || failed=$((failed + 1))
}

# Of the bandwidth, and of the latency (design: what an unmodified program gets).
case $way in
odp) least=0.98 most=1.02 ;;
staged) least=0.99 most=1.01 ;;
staged+write-back) least=0.95 most=1.01 ;;
*) fail "odp, staged or staged+write-back, not '$way'" ;;
esac
case $what in
bandwidth) programs=(ib_write_bw ib_read_bw ib_send_bw) ;;
latency) programs=(ib_read_lat ib_send_lat) ;;
ib_write_bw | ib_read_bw | ib_send_bw | ib_read_lat | ib_send_lat) programs=("$what") ;;
*) fail "bandwidth, latency or one of their programs, not '$what'" ;;
esac
for program in "${programs[@]}"; do
	case $program in
	*_bw) budget "$program" "at least" "$least" -s 65536 -n "${iterations:-2000}" ;;
	*_lat) budget "$program" "at most" "$most" -s 64 -n "${iterations:-2000}" ;;
	esac
done
test "$failed" = 0
