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
# `latency` want for an answer that repeats.
# shellcheck source-path=SCRIPTDIR source=../vm/tests/lib.sh
. "$SRC/tests/vm/tests/lib.sh"
# shellcheck source=tests/bench/budget.sh
. "$SRC/tests/bench/budget.sh"

what=$1 way=$2 pairs=$3 iterations=${4:-}
failed=0
make_file "$DAX/f" 8

# The number that perftest prints: average MB/s, or the typical latency in us.
result() { # PROGRAM
	case $1 in
	*_bw) awk '/^ *[0-9]+ +[0-9]+ / { print $4 }' "$client_log" ;;
	*_lat) awk '/^ *[0-9]+ +[0-9]+ / { print $5 }' "$client_log" ;;
	esac
}

# run_once dram|dax PROGRAM OPTIONS...
run_once() {
	local where=$1 program=$2
	shift 2
	case $where in
	dram)
		server_options=()
		perftest "$program" env : "$@"
		;;
	dax)
		server_options=(--mmap="$DAX/f")
		perftest "$program" "$daxmr" run "${options[@]}" -- : "$@"
		;;
	esac
}

# A clock that counts instructions leaps to the next timer whenever nobody has
# anything to do, as while a program is read from the host: a time limit may be
# over at once.  So everything has run once before it counts, and a run that
# fails all the same is told and done again, twice at most.
warm_up() { # PROGRAM OPTIONS...
	local where n
	for where in dram dax; do
		for n in $(seq 20); do
			! run_once "$where" "$@" || continue 2
		done
		fail "$1 on $where, $n times: $(cat "$server_log" "$client_log")"
	done
}

# once dram|dax PROGRAM OPTIONS...: into $measured
once() {
	run_once "$@" || {
		echo "# once more: $2 on $1"
		run_once "$@"
	} || run_once "$@" || fail "$2 on $1, three times: $(cat "$server_log" "$client_log")"
	measured=$(result "$2")
	test -n "$measured" || fail "$2 on $1 printed no result: $(cat "$client_log")"
}

# budget PROGRAM "at least"|"at most" GOAL OPTIONS...
budget() {
	local program=$1 sense=$2 goal=$3 n order where dram dax drams=() daxes=() unit=MB/s
	shift 3
	test "$sense" = 'at least' || unit=us
	warm_up "$program" -s 64 -n 10
	for n in $(seq "$pairs"); do
		if test $((n % 2)) = 1; then
			order='dram dax'
		else
			order='dax dram'
		fi
		for where in $order; do
			once "$where" "$program" "$@"
			printf -v "$where" %s "$measured"
		done
		echo "# pair $n: dax $dax, dram $dram"
		drams+=("$dram") daxes+=("$dax")
	done
	budget_line "$way: $program $*" "$unit" DRAM "$sense" "$goal" "${daxes[@]}" , "${drams[@]}" || failed=$((failed + 1))
}

# Of the bandwidth, and of the latency (design: what an unmodified program gets).
case $way in
odp) options=(--strategy=odp) least=0.98 most=1.02 ;;
staged) options=(--strategy=staged --flush-ms=0) least=0.99 most=1.01 ;;
staged+write-back) options=(--strategy=staged) least=0.95 most=1.01 ;;
*) fail "odp, staged or staged+write-back, not '$way'" ;;
esac
case $what in
bandwidth) programs=(ib_write_bw ib_read_bw ib_send_bw) ;;
latency) programs=(ib_write_lat) ;;
ib_write_bw | ib_read_bw | ib_send_bw | ib_write_lat) programs=("$what") ;;
*) fail "bandwidth, latency or one of their programs, not '$what'" ;;
esac
for program in "${programs[@]}"; do
	case $program in
	*_bw) budget "$program" "at least" "$least" -s 65536 -n "${iterations:-2000}" ;;
	*_lat) budget "$program" "at most" "$most" -s 64 -n "${iterations:-6000}" ;;
	esac
done
test "$failed" = 0
