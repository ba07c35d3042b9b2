#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# In the guest: Debian's perftest, unchanged, with its server's buffer in a DAX
# file under daxmr, over the same in DRAM without daxmr.  Pairs, one after the
# other, the order changing; the median of their ratios is what counts.
#
#     odp_over_dram.sh bandwidth|latency PAIRS
# shellcheck source-path=SCRIPTDIR source=../vm/tests/lib.sh
. "$SRC/tests/vm/tests/lib.sh"

what=$1 pairs=$2
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
		perftest "$program" "$daxmr" run -- : "$@"
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

case $what in
bandwidth)
	budget ib_write_bw at-least 0.98 -s 65536 -n 2000
	budget ib_read_bw at-least 0.98 -s 65536 -n 2000
	budget ib_send_bw at-least 0.98 -s 65536 -n 2000
	;;
latency) budget ib_write_lat at-most 1.02 -s 64 -n 6000 ;;
*) fail "bandwidth or latency, not '$what'" ;;
esac
echo "$passed passed, $failed failed"
test "$failed" = 0
