#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# In the guest: Debian's perftest, unchanged, with its server's buffer in a DAX
# file under daxmr, over the same in DRAM without daxmr.  Pairs, one after the
# other, the order changing; the median of their ratios is what counts.
#
#     dax_over_dram.sh bandwidth|latency odp|staged|staged+write-back PAIRS
# shellcheck source-path=SCRIPTDIR source=../vm/tests/lib.sh
. "$SRC/tests/vm/tests/lib.sh"

what=$1 way=$2 pairs=$3
passed=0 failed=0
make_file "$DAX/f" 8

# The number that perftest prints: average MB/s, or the typical latency in us.
result() { # PROGRAM
	case $1 in
	*_bw) awk '/^ *[0-9]+ +[0-9]+ / { print $4 }' "$client_log" ;;
	*_lat) awk '/^ *[0-9]+ +[0-9]+ / { print $5 }' "$client_log" ;;
	esac
}

once() { # dram|dax PROGRAM OPTIONS...
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
	esac || fail "$program on $where: $(cat "$server_log" "$client_log")"
	result "$program"
}

median() {
	sort -g | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'
}

# budget PROGRAM at-least|at-most RATIO OPTIONS...
budget() {
	local program=$1 sense=$2 goal=$3 n dram dax ratios='' drams='' daxes='' ratio met
	shift 3
	for n in $(seq "$pairs"); do
		if test $((n % 2)) = 1; then
			dram=$(once dram "$program" "$@") dax=$(once dax "$program" "$@")
		else
			dax=$(once dax "$program" "$@") dram=$(once dram "$program" "$@")
		fi
		drams+="$dram"$'\n' daxes+="$dax"$'\n'
		ratios+=$(awk "BEGIN { print $dax / $dram }")$'\n'
	done
	ratio=$(printf %s "$ratios" | median)
	met=$(awk "BEGIN { print (\"$sense\" == \"at-least\" ? $ratio >= $goal : $ratio <= $goal) ? \"ok\" : \"not ok\" }")
	printf '%-6s %-13s %-18s dax %9s  dram %9s  ratio %.3f (%s %s), of %s pairs, from %s to %s\n' \
		"$met" "$program" "$*" "$(printf %s "$daxes" | median)" "$(printf %s "$drams" | median)" \
		"$ratio" "$sense" "$goal" "$pairs" \
		"$(printf %s "$ratios" | sort -g | head -1)" "$(printf %s "$ratios" | sort -g | tail -1)"
	if test "$met" = ok; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
}

# Of the bandwidth, and of the latency (design: what an unmodified program gets).
case $way in
odp) options=(--strategy=odp) least=0.98 most=1.02 ;;
staged) options=(--strategy=staged --flush-ms=0) least=0.99 most=1.01 ;;
staged+write-back) options=(--strategy=staged) least=0.95 most=1.01 ;;
*) fail "odp, staged or staged+write-back, not '$way'" ;;
esac
echo "$what, $way:"
case $what in
bandwidth)
	for program in ib_write_bw ib_read_bw ib_send_bw; do
		budget "$program" at-least "$least" -s 65536 -n 2000
	done
	;;
latency) budget ib_write_lat at-most "$most" -s 64 -n 6000 ;;
*) fail "bandwidth or latency, not '$what'" ;;
esac
echo "$passed passed, $failed failed"
test "$failed" = 0
