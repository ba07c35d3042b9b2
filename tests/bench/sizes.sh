#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# In the guest: the bandwidth or the latency of Debian's perftest by the size of
# a message, in DRAM without daxmr and in each WAY of perftest.sh.  A round has
# all of them, one after the other, the order changing; a ratio is that of two
# of one round.  As points: what was measured, and the ratios.
#
#     sizes.sh bandwidth|latency ROUNDS MIB WAY...
#
# MIB: what a run moves, within 20 to 2000 messages, or 500 of the latency, which
# is the typical one of them. There both ends wait for events (ib_send_lat -e): on
# one processor whose clock counts instructions an end that polls would be told
# how long the other is given to run, and not how long the message takes.
# shellcheck source=tests/bench/perftest.sh
. "$SRC/tests/bench/perftest.sh"
# shellcheck source=tests/bench/budget.sh
. "$SRC/tests/bench/budget.sh"

what=$1 rounds=$2 mib=$3
shift 3
ways=("$@")
case $what in
bandwidth) program=ib_write_bw options=() unit=MB/s most=2000 ;;
latency) program=ib_send_lat options=(-e) unit=us most=500 ;;
*) fail "bandwidth or latency, not '$what'" ;;
esac
make_file "$DAX/f" 8
if [[ " $* " = *' pinned '* ]]; then
	insmod /run/daxmr-vm/pin_dax.ko
	trap 'rmmod pin_dax' EXIT
fi

# Of one size: into ${all[WAY]}, a number for each round.
declare -A all
measure() { # SIZE
	local size=$1 count=$((mib * 1048576 / $1)) round way order
	count=$((count < 20 ? 20 : count > most ? most : count))
	all=()
	for round in $(seq "$rounds"); do
		order=(DRAM "${ways[@]}")
		test $((round % 2)) = 1 || mapfile -t order < <(printf '%s\n' "${order[@]}" | tac)
		for way in "${order[@]}"; do
			once "$way" "$program" "${options[@]}" -s "$size" -n "$count"
			echo "# $size bytes, $way: $measured"
			all[$way]+="$measured "
		done
	done
}

ratios() { # WAY
	paste <(tr ' ' '\n' <<<"${all[$1]% }") <(tr ' ' '\n' <<<"${all[DRAM]% }") | awk '{ print $1 / $2 }'
}

for way in DRAM "${ways[@]}"; do
	warm_up "$way" "$program" "${options[@]}" -s 64 -n 10
done
for size in 64 512 4096 65536 1048576; do
	measure "$size"
	read -ra base <<<"${all[DRAM]}"
	budget_point "$what" "DRAM" "$size" "${base[@]}"
	for way in "${ways[@]}"; do
		read -ra ours <<<"${all[$way]}"
		mapfile -t ratio < <(ratios "$way")
		budget_point "$what" "$way" "$size" "${ours[@]}"
		budget_point "$what-ratio" "$way" "$size" "${ratio[@]}"
		budget_line "$way: $program${options[*]:+ ${options[*]}} -s $size" "$unit" DRAM told 0 "${ours[@]}" , "${base[@]}"
	done
done
