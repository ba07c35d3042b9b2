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
# shellcheck source=tests/bench/budget.sh
. "$SRC/tests/bench/budget.sh"

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

"$store/daxmr-blockd" --format --windows "$clients" --window-size 2M "$DAX/store"
reads=() writes=() memory_reads=() memory_writes=()
for pair in $(seq "$pairs"); do
	order='memory file'
	test $((pair % 2)) = 1 || order='file memory'
	declare -A reading=() writing=()
	for where in $order; do
		once "$where"
		reading[$where]=$read writing[$where]=$write
	done
	echo "# pair $pair: read ${reading[file]} of ${reading[memory]}, write ${writing[file]} of ${writing[memory]} MB/s"
	reads+=("${reading[file]}") memory_reads+=("${reading[memory]}")
	writes+=("${writing[file]}") memory_writes+=("${writing[memory]}")
done
echo "# $("$BUILD/tests/bench/bench_persist" "$DAX/local" $((clients * rounds * 2)))"
budget_line "block store, $strategy: writes with commits" MB/s "memory without commits" told 0 "${writes[@]}" , "${memory_writes[@]}"
budget_line "block store, $strategy: reads" MB/s memory "at least" "$least" "${reads[@]}" , "${memory_reads[@]}"
