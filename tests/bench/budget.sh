# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# The lines of the table that bench/run prints, and the points of the plots that
# it draws, from those benchmarks that are scripts; budget.h is what programs
# have.

# The median, the least and the most of the numbers of the standard input.
spread() {
	sort -g | awk '{ a[NR] = $1 }
		END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2, a[1], a[NR] }'
}

# budget_line WHAT UNIT BASE-NAME SENSE GOAL OURS... , BASE...: pairs.
# SENSE: `at most`, `at least`, of the ratio, or `told`.
# Fails where it is missed.
budget_line() {
	local what=$1 unit=$2 base_name=$3 sense=$4 goal=$5 values=() bases=() ratios='' i median min max mark wanted
	shift 5
	while test "$1" != ,; do
		values+=("$1")
		shift
	done
	shift
	bases=("$@")
	for i in "${!values[@]}"; do
		ratios+=$(awk "BEGIN { print ${values[i]} / ${bases[i]} }")$'\n'
	done
	read -r median min max < <(printf %s "$ratios" | spread)
	wanted="$sense $goal"
	case $sense in
	'at least') mark=$(awk "BEGIN { print ($median >= $goal) ? \"met\" : \"missed\" }") ;;
	'at most') mark=$(awk "BEGIN { print ($median <= $goal) ? \"met\" : \"missed\" }") ;;
	told) mark=told wanted=- ;;
	esac
	printf '%s | %s | %s | %s | %s | %s | %.3f | %.3f | %.3f | %d | %s\n' "$mark" "$what" \
		"$(printf '%s\n' "${values[@]}" | spread | cut -d' ' -f1)" "$unit" "$base_name" \
		"$(printf '%s\n' "${bases[@]}" | spread | cut -d' ' -f1)" "$median" "$min" "$max" "${#values[@]}" "$wanted"
	test "$mark" != missed
}

# budget_point PLOT SERIES X VALUE...: one point, the median of the values, and
# how far they spread. bench/plot knows the plots and their units.
budget_point() {
	local plot=$1 series=$2 x=$3 median min max
	shift 3
	read -r median min max < <(printf '%s\n' "$@" | spread)
	printf 'point | %s | %s | %s | %s | %s | %s\n' "$plot" "$series" "$x" "$median" "$min" "$max"
}
