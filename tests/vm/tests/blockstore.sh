#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# examples/02-blockstore under load: a `cp` is whole, the file is cut off and grows, in one go too, the server is killed again and again and comes back, and no committed block is lost or torn.
# on: 6.1-stock-xfs new-fixed-xfs
# limit: 240
# short
# soak 3000
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

windows=2 blocks=8 kills=3 patience=100
# Of few blocks: so there are as many commits to be killed in as can be.
test -z "${DAXMR_TEST_LONG:-}" || windows=4 blocks=4 kills=100 patience=600
last=$((windows - 1))
programs=$BUILD/examples/02-blockstore
store=$DAX/store address=10.0.0.1:7471
server='' clients=() starts=0 counted=0 size=''

# Under this load a program that is started takes long: the shell itself looks.
exec {never}<> <(:)
pause() {
	read -rt 0.1 -u "$never" || true
}

# count FILE PATTERN: how many lines have it, in $counted.
count() {
	local line lines
	mapfile -t lines <"$1"
	counted=0
	for line in "${lines[@]}"; do
		[[ $line != *$2* ]] || counted=$((counted + 1))
	done
}

# until_more FILE PATTERN NUMBER: more lines than that have it.
until_more() {
	local end=$((SECONDS + patience))
	while count "$1" "$2" && test "$counted" -le "$3"; do
		kill -0 "$server" 2>/dev/null || fail "the server has ended: $(cat server.log)"
		test "$SECONDS" -lt "$end" || fail "'$2' did not come: $(tail -n 20 "$1") $(tail -n 20 server.log)"
		pause
	done
}

start_server() {
	: >>server.log
	"$programs/daxmr-blockd" --listen "$address" "$store" >>server.log 2>&1 &
	server=$!
	until_more server.log 'windows at' "$starts"
	starts=$((starts + 1))
}

start_client() { # WINDOW
	: >"client.$1.log"
	nice "$programs/daxmr-block" --window "$1" --rounds 1000000 --seed "$1" --verify --reconnect "$patience" \
		--depth 4 --commit-every 4 --verbose --json "$address" write >"client.$1" 2>>"client.$1.log" &
	clients+=($!)
}

# Each of these clients has got to the end of its window since, wherever it was.
until_wrote() { # WINDOW...
	local window before=()
	for window; do
		count "client.$window.log" 'write: round'
		before[window]=$counted
	done
	for window; do
		until_more "client.$window.log" 'write: round' "${before[window]}"
	done
}

until_all_wrote() {
	local window all=()
	for ((window = 0; window < windows; window++)); do
		all+=("$window")
	done
	until_wrote "${all[@]}"
}

# The file's, in KiB, so that the last window has so many blocks: 128 for each,
# and 64 before the first window.
size() { # BLOCKS
	size=$((64 + (last * blocks + $1) * 128))K
}

# The shell waits for the file; truncate(1) itself does not.
resize() { # BLOCKS
	size "$1"
	exec 3<"$store"
	truncate -s "$size" "$store"
	exec 3<&-
	until_more server.log "window $last: $1 blocks now" 0
	until_all_wrote
}

# Within one look of the server's: by its size the file is what it was.
cut_off_and_grow_back() {
	local said='committed blocks have been cut off'
	count server.log "$said"
	exec 3<"$store"
	size $((blocks / 4))
	truncate -s "$size" "$store"
	size "$blocks"
	truncate -s "$size" "$store"
	exec 3<&-
	until_more server.log "$said" "$counted"
	until_all_wrote
}

# moment FILE: clients write from the first block to the last, so at one moment
# sequences do not rise along a window, nor are two of them more than one apart.
# In an index of one page, the upper half of each word.
moment() {
	local window sequences
	for ((window = 0; window < windows; window++)); do
		sequences=$(od -An -v -tu4 -w8 -j $((4096 * (window + 1))) -N $((8 * blocks * 3 / 4)) "$1")
		awk 'NR == 1 { first = $2 } NR > 1 && ($2 > last || first - $2 > 1) { exit 1 } { last = $2 }' <<<"$sequences" ||
			fail "window $window of $1 is not of one moment: $sequences"
	done
}

# Whoever has a staged file reads the same as long as he has it,
does_not_change() {
	exec 3<"$store"
	cat <&3 >seen
	read -rt 1 -u "$never" || true
	cat "$store" >seen.again
	exec 3<&-
	cmp seen seen.again || fail "the file changed while somebody had it"
	moment seen
	until_all_wrote
}

# its index too, while blocks that it has are cut off.
is_forgotten_later() {
	local said='committed blocks have been cut off'
	count server.log "$said"
	exec 3<"$store"
	size 0
	truncate -s "$size" "$store"
	head -c 64K "$store" >index
	read -rt 1 -u "$never" || true
	head -c 64K "$store" | cmp - index || fail "the index changed while somebody had it"
	size "$blocks"
	truncate -s "$size" "$store"
	exec 3<&-
	until_more server.log "$said" "$counted"
	until_all_wrote
}

size $((blocks * 3 / 4))
truncate -s "$size" "$store"
"$programs/daxmr-blockd" --format --windows "$windows" --window-size "$((blocks * 64))K" "$store"
start_server
for ((window = 0; window < windows; window++)); do
	start_client "$window"
done
until_all_wrote

cp "$store" "$DAX/copy"
out=$("$programs/daxmr-blockd" --check "$DAX/copy" 2>&1) || fail "the copy: $out"
has "$out" "window 0: $blocks blocks, $blocks committed, sequences [0-9]+ to [0-9]+, 0 torn"
moment "$DAX/copy"
[[ $CONFIG != 6.1-* ]] || does_not_change

resize $((blocks / 4))
resize "$blocks"
cut_off_and_grow_back
[[ $CONFIG != 6.1-* ]] || is_forgotten_later

for ((kill = 1; kill <= kills; kill++)); do
	read -rt "0.$((RANDOM % 40 + 10))" -u "$never" || true
	kill -KILL "$server"
	wait "$server" || true
	start_server
	# one of them has verified all and written; where the others are is chance
	until_wrote $((kill % windows))
done
until_all_wrote

kill "${clients[@]}"
for ((window = 0; window < windows; window++)); do
	wait "${clients[window]}" || fail "client $window: $(cat "client.$window" "client.$window.log")"
	has "$(cat "client.$window")" '"reconnects": [1-9][0-9]*, "lost": 0, "torn": 0'
done

# what goes beyond the window's end is refused, in words
if out=$("$programs/daxmr-block" --size 2M "$address" write 2>&1); then
	fail "was written beyond the end: $out"
fi
has "$out" "has $blocks blocks .* let the file grow"

# what else a client can be asked for; these were written with their window's number for a seed
client() {
	out=$("$programs/daxmr-block" "$@" 2>&1)
}
client --json "$address" read || fail "$out"
has "$out" "\"blocks\": $blocks, .*\"empty\": 0, .*\"lost\": 0, \"torn\": 0"
client --seed 0 --at-least 1 "$address" verify || fail "$out"
has "$out" "verify: window 0 of $blocks blocks: .* 0 lost, 0 torn"
! client --seed 0 --at-least 4000000000 "$address" verify || fail "is that old: $out"
has "$out" "block $((blocks - 1)) of window 0, .*: it is older than --at-least"
! client --seed 9 "$address" verify || fail "has other bytes: $out"
has "$out" 'it has other bytes than --seed makes'
client --rounds 2 --json "$address" bench || fail "$out"
has "$out" '"bench-write", .*"commits": [1-9]'
has "$out" '"bench-read", .*"mb": (0\.0*)?[1-9]'
out=$(script -qec "$programs/daxmr-block --seed 5 $address write" /dev/null) || fail "$out"
has "$out" 'write +\[#{40}\] 100%'

kill "$server"
wait "$server" || fail "the server: $(cat server.log)"
out=$("$programs/daxmr-blockd" --check "$store" 2>&1) || fail "$out"
test "$(grep -cE ": $blocks blocks, $blocks committed, sequences [0-9]+ to [0-9]+, 0 torn" <<<"$out")" = "$windows" || fail "$out"
test -z "${DAXMR_TEST_LONG:-}" || cat client.?
