#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A client of examples/02-blockstore whose machine has lost its power: its window is free again within a minute or so, and others notice nothing.
# on: 6.1-stock-xfs
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

store=$BUILD/examples/02-blockstore address=10.0.0.1:7472

# until_said FILE TEXT SECONDS
until_said() {
	local end=$((SECONDS + $3))
	until grep -q -e "$2" "$1"; do
		test "$SECONDS" -lt "$end" || fail "'$2' was not said in $3 s: $(cat "$1")"
		sleep 0.2
	done
}

"$store/daxmr-blockd" --listen "$address" --memory --windows 2 --window-size 1M >server.log 2>&1 &
server=$!
until_said server.log 'windows at' 30
"$programs/block_mute" "${address%:*}" "${address#*:}" >mute.log 2>&1 &
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

# nobody else was asked to go, nor has the mute one gone by itself
kill "$mute"
kill "$other"
wait "$other" || fail "$(tail -n 5 other.log)"
has "$(tail -n 1 other.log)" '0 reconnections, 0 lost, 0 torn'
test "$(grep -c 'there no more' server.log)" = 1 || fail "$(cat server.log)"
kill "$server"
wait "$server" || fail "$(cat server.log)"
