#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A client of examples/02-blockstore whose machine has lost its power: its window is free again within a minute or so, and others notice nothing. A server's: its clients hear of it as soon, those too that wait and have nothing under way; one that is interrupted ends at once.
# on: 6.1-stock-xfs
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

store=$BUILD/examples/02-blockstore address=10.0.0.1:7472

# until_said FILE TEXT SECONDS
until_said() {
	local end=$((SECONDS + $3))
	until grep -Eq -e "$2" "$1"; do
		test "$SECONDS" -lt "$end" || fail "'$2' was not said in $3 s: $(cat "$1")"
		sleep 0.2
	done
}

# mute_server NUMBER: with a client that waits to be told of its window, $lonely.
mute_server() {
	"$programs/block_mute" server "${address%:*}" $((7480 + $1)) >"gone.$1.log" 2>&1 &
	gone+=($!)
	until_said "gone.$1.log" listens 30
	"$store/daxmr-block" "${address%:*}:$((7480 + $1))" write >"lonely.$1.log" 2>&1 &
	lonely=$!
	until_said "gone.$1.log" mute 30
}

gone=()
mute_server 1
end=$((SECONDS + 8))
while kill -INT "$lonely" 2>/dev/null; do
	test "$SECONDS" -lt "$end" || fail "it goes on: $(cat lonely.1.log)"
	sleep 0.2
done
! wait "$lonely" || fail "it has written: $(cat lonely.1.log)"
has "$(cat lonely.1.log)" 'Interrupted system call'
mute_server 2
waits=$lonely

"$store/daxmr-blockd" --listen "$address" --memory --windows 2 --window-size 1M >server.log 2>&1 &
server=$!
until_said server.log 'windows at' 30
"$programs/block_mute" client "${address%:*}" "${address#*:}" >mute.log 2>&1 &
mute=$!
until_said mute.log mute 30
"$store/daxmr-block" --window 1 --rounds 1000000 --verbose "$address" write >other.log 2>&1 &
other=$!
until_said other.log 'round 1 ' 30

if out=$("$store/daxmr-block" "$address" write 2>&1); then
	fail "two clients have one window: $out"
fi
has "$out" 'another client has it'
start=$SECONDS
until_said server.log 'window 0: its client is there no more' 90
echo "after $((SECONDS - start)) s"
out=$("$store/daxmr-block" --verify "$address" write 2>&1) || fail "$out"

until_said lonely.2.log 'the connection broke \(transport retry counter exceeded\)' 90
! wait "$waits" || fail "it has written: $(cat lonely.2.log)"
kill "${gone[@]}"

# nobody else was asked to go, nor has the mute one gone by itself
kill "$mute"
kill "$other"
wait "$other" || fail "$(tail -n 5 other.log)"
has "$(tail -n 1 other.log)" '0 reconnections, 0 lost, 0 torn'
test "$(grep -c 'there no more' server.log)" = 1 || fail "$(cat server.log)"
kill "$server"
wait "$server" || fail "$(cat server.log)"
