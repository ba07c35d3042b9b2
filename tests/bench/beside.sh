#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# In the guest: what a peer sends has to be durable in a file on DAX, with daxmr
# and in all other ways there are (beside.c has the loop, and what is measured),
# over an application's own buffer and copy. A round has all of them, one after
# the other, the order changing; a ratio is that of two of one round.
#
#     beside.sh ROUNDS MIB WAY...
#
# WAY: daxmr-staged or daxmr-odp, or one of beside.c's.
# shellcheck source-path=SCRIPTDIR source=../vm/tests/lib.sh
. "$SRC/tests/vm/tests/lib.sh"
# shellcheck source=tests/bench/budget.sh
. "$SRC/tests/bench/budget.sh"

rounds=$1 mib=$2
shift 2
ways=(bounce "$@")
declare -A names=([bounce]="own buffer and copy" [daxmr-staged]="daxmr, staged" [daxmr-odp]="daxmr, odp"
	[odp]="own ODP" [odp-prefetch]="own ODP, prefetched" [rpma]="librpma" [rpma-prefetch]="librpma, prefetched")
make_file "$DAX/f" "$mib"

# once WAY MIB BYTES: into $first, ms until all was there once, and $rate. No time
# limit: where instructions are the clock, one may be over at once (perftest.sh),
# as those of librdmacm may; hence up to three times, and told.
once() {
	local way=$1 prefix=() said registered pass n
	shift
	case $way in
	daxmr-*)
		prefix=("$daxmr" run --strategy="${way#daxmr-}" --)
		way=plain
		;;
	esac
	for n in 1 2 3; do
		! said=$("${prefix[@]}" "$BUILD/beside_bench" "$way" "$DAX/f" "$@" 2>&1) || break
		echo "# failed, $n times: ${prefix[*]} $way $*: $said"
		test "$n" != 3 || fail "three times"
	done
	read -r registered pass rate <<<"$said"
	first=$(awk "BEGIN { print $registered + $pass }")
}

# Of one size: into ${firsts[WAY]} and ${rates[WAY]}, a number for each round.
declare -A firsts rates
measure() { # BYTES
	local round way order
	firsts=() rates=()
	for round in $(seq "$rounds"); do
		order=("${ways[@]}")
		test $((round % 2)) = 1 || mapfile -t order < <(printf '%s\n' "${order[@]}" | tac)
		for way in "${order[@]}"; do
			once "$way" "$mib" "$1"
			echo "# $1 bytes, ${names[$way]}: $first ms, $rate MB/s"
			firsts[$way]+="$first " rates[$way]+="$rate "
		done
	done
}

# told PLOT WHAT UNIT WAY NUMBERS: the point, and the line over the copy's. Of the
# first pass the least: where instructions are the clock, it leaps while a keeper
# is read from the host.
told() {
	local -n of=$5
	local ours base
	read -ra ours <<<"${of[$4]}"
	read -ra base <<<"${of[bounce]}"
	if test "$5" = firsts; then
		budget_point "$1" "${names[$4]}" "$place" "$(printf '%s\n' "${ours[@]}" | sort -g | head -n 1)"
	else
		budget_point "$1" "${names[$4]}" "$place" "${ours[@]}"
	fi
	test "$4" = bounce || budget_line "${names[$4]}: $2" "$3" "${names[bounce]}" told 0 "${ours[@]}" , "${base[@]}"
}

# The first of each in a boot reads programs from the host, and daxmr's tests the device.
for way in "${ways[@]}"; do
	once "$way" "$mib" 65536
done
for size in 4096 65536; do
	measure "$size"
	place=0 # in the plot; a boot of another kernel's is behind
	case $CONFIG in new-*) place=3 ;; esac
	for way in "${ways[@]}"; do
		place=$((place + 1))
		told "beside-$size" "durable, messages of $size" MB/s "$way" rates
		told "beside-first-$size" "first $mib MiB, of $size" ms "$way" firsts
	done
done
