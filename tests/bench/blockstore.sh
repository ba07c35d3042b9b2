#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# In the guest: examples/02-blockstore with four clients that read and write
# blocks of 64 KiB and commit after each 16, on a DAX file over the same server
# on ordinary memory, which persists nothing.  Pairs, the order changing; the
# median of the reads' ratios is what counts.  Beside it: the same bytes,
# persisted on this machine by libpmem2.
#
#     blockstore.sh odp|staged PAIRS [ROUNDS]
#
# shellcheck source-path=SCRIPTDIR source=../vm/tests/lib.sh
. "$SRC/tests/vm/tests/lib.sh"

strategy=$1 pairs=$2 rounds=${3:-8}
clients=4 least=0.97
store=$BUILD/examples/02-blockstore
address=10.0.0.1:7471

# Until there is a line with that, or the server is gone.
until_said() { # PID
	local n
	for n in $(seq 300); do
		if grep -q 'windows at' server.log; then
			return
		fi
		kill -0 "$1" 2>/dev/null || break
		sleep 0.1
	done
	fail "the server is not there, $n times looked: $(cat server.log)"
}

# all ARGUMENT...: every client at once; the sum of their MB/s is $sum.
all() {
	local window pids=()
	for window in $(seq 0 $((clients - 1))); do
		"$store/daxmr-block" --window "$window" --json --rounds "$rounds" "$address" "$@" >"client.$window" &
		pids+=($!)
	done
	for window in $(seq 0 $((clients - 1))); do
		wait "${pids[window]}" || fail "client $window: $(cat "client.$window")"
	done
	sum=$(sed -nE 's/.*"action": "(read|bench-write)".*"mb_per_s": ([0-9.]+).*/\2/p' client.? |
		awk '{ sum += $1 } END { printf "%.2f", sum }')
}

# once memory|file: into $write and $read
once() {
	local server where=("$DAX/store")
	test "$1" != memory || where=(--memory --windows "$clients" --window-size 2M)
	DAXMR_STRATEGY=$([[ $1 = memory ]] || echo "$strategy") \
		"$store/daxmr-blockd" --listen "$address" "${where[@]}" >server.log 2>&1 &
	server=$!
	until_said "$server"
	all bench
	write=$sum
	all read
	read=$sum
	kill "$server"
	wait "$server" || fail "the server: $(cat server.log)"
}

median() {
	sort -g | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'
}

"$store/daxmr-blockd" --format --windows "$clients" --window-size 2M "$DAX/store"
reads='' writes=''
for pair in $(seq "$pairs"); do
	order='memory file'
	test $((pair % 2)) = 1 || order='file memory'
	declare -A reading=() writing=()
	for where in $order; do
		once "$where"
		reading[$where]=$read writing[$where]=$write
	done
	echo "    # pair $pair: read ${reading[file]} of ${reading[memory]}, write ${writing[file]} of ${writing[memory]} MB/s"
	reads+=$(awk "BEGIN { print ${reading[file]} / ${reading[memory]} }")$'\n'
	writes+=$(awk "BEGIN { print ${writing[file]} / ${writing[memory]} }")$'\n'
done
ratio=$(printf %s "$reads" | median)
"$BUILD/tests/bench/bench_persist" "$DAX/local" $((clients * rounds * 2))
echo "$strategy: writes with commits $(printf %s "$writes" | median) of memory, reads $ratio (at least $least)"
awk "BEGIN { exit !($ratio >= $least) }"
