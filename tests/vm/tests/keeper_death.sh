#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Program and keeper end, each in every way; what ends both is said before, and a keeper from outside outlives it.
# on: 6.1-stock-ext4 new-stock-xfs
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# All that is tested on the build machine's page cache, on DAX and as root.
export DAXMR_TEST_DAX_DIR=$DAX
for name in death fate listen outside settle; do
	out=$("$BUILD/unit-lease-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
done

keeper=$BUILD/daxmr-keeper
socket=$PWD/socket
file=$DAX/leased
box=/sys/fs/cgroup/daxmr-fate
unit=/sys/fs/cgroup/daxmr-fate.service

end_boxes() {
	local folder
	exec 5>&-
	for folder in "$box" "$unit"; do
		test -e "$folder" || continue
		echo 1 >"$folder/cgroup.kill"
		until_true "$folder is empty" grep -q '^populated 0' "$folder/cgroup.events"
		rmdir "$folder"
	done
}
trap end_boxes EXIT

# until_true WHAT COMMAND...
until_true() {
	local what=$1 n
	shift
	for n in $(seq 300); do
		if "$@"; then
			return
		fi
		sleep 0.1
	done
	fail "waited $n tenths of a second until $what"
}

is_gone() { # PID
	! test -e "/proc/$1" || grep -q '^State:.*[ZX]' "/proc/$1/status"
}

# Of the lease; there is no other.
holder() {
	awk '$2 == "LEASE" { print $5; exit }' /proc/locks
}

has_lease() {
	test -n "$(holder)"
}

# start FOLDER-OF-CGROUP PREFIX... : [SOCKET]: the program, leased; its output
# in $told, its commands by descriptor 5, its keeper in $held.
start() {
	local folder=$1 prefix=()
	shift
	while test "$1" != :; do
		prefix+=("$1")
		shift
	done
	shift
	rm -f in out
	mkfifo in
	(
		echo "$BASHPID" >"$folder/cgroup.procs"
		exec "${prefix[@]}" "$programs/lease_program" "$file" "$keeper" "$@" <in >out
	) &
	started=$!
	exec 5>in
	until_true "the program has its lease" eval "grep -q ^leased out || is_gone $started"
	told=$(cat out)
	has "$told" '^leased'
	held=$(holder)
	test "$(cat "/proc/$held/comm")" = daxmr-keeper || fail "the lease is held by $held: $(cat /proc/locks)"
}

# let_in: another's open is through at once.
let_in() {
	timeout 5 dd if="$file" of=/dev/null count=1 status=none || fail "who opens the file waits"
}

# dies_too: the program ended, and so has its keeper, which could do nothing
# about it: it was stopped.
dies_too() {
	until_true "the keeper has died too" is_gone "$held"
	has_lease && fail "there is a lease still: $(cat /proc/locks)"
	let_in
}

# lives_on: the same with a keeper from outside, which then gives the file back.
lives_on() {
	is_gone "$held" && fail "the keeper has died"
	has_lease || fail "nobody has the lease"
	kill -CONT "$held"
	let_in
	until_true "the keeper ends" is_gone "$held"
	has_lease && fail "there is a lease still: $(cat /proc/locks)"
	return 0
}

# Everything is left by the shell's other jobs to them.
"$keeper" --listen="$socket" &
listener=$!
until_true "the keeper listens" test -S "$socket"
own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)

# Nothing in common but the machine.
start "$own" :
has "$told" '^fate: $'
kill -KILL "$started"
let_in
until_true "the keeper ends" is_gone "$held"

# PID 1 of a PID namespace.
pid_1=(unshare --pid --fork --kill-child --mount-proc)
start "$own" "${pid_1[@]}" :
has "$told" '^fate: the program is the first process of its PID namespace.*DAXMR_KEEPER'
kill -STOP "$held"
kill -KILL "$started"
dies_too
start "$own" "${pid_1[@]}" : "$socket"
has "$told" '^fate: $'
kill -STOP "$held"
kill -KILL "$started"
until_true "the program ends" is_gone "$started"
lives_on

# One cgroup, out of memory.
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir "$box"
echo 1 >"$box/memory.oom.group"
echo 64M >"$box/memory.max"
test ! -e "$box/memory.swap.max" || echo 0 >"$box/memory.swap.max"
start "$box" :
has "$told" "^fate: out of memory.*$box/memory.oom.group is 1.*DAXMR_KEEPER"
kill -STOP "$held"
echo eat >&5
until_true "the program is out of memory" is_gone "$started"
grep -q '^oom_group_kill 1' "$box/memory.events" || fail "$(cat "$box/memory.events")"
dies_too
start "$box" : "$socket"
has "$told" '^fate: $'
kill -STOP "$held"
echo eat >&5
until_true "the program is out of memory" is_gone "$started"
grep -q '^oom_group_kill 2' "$box/memory.events" || fail "$(cat "$box/memory.events")"
lives_on

# What a unit of systemd looks like.
mkdir "$unit"
start "$unit" :
has "$told" '^fate: stopping daxmr-fate.service kills.*KillMode=process'
exec 5>&-
wait "$started" || fail "the program could not give its lease back"

# A program that computes at real-time priority on the one CPU that it is pinned to.
start "$own" chrt -f 50 taskset -c 0 :
echo spin >&5
for _ in 1 2 3; do
	until_true "the lease is taken again" has_lease
	timeout 10 taskset -c 1 dd if="$file" of=/dev/null count=1 status=none || fail "the keeper is not let run"
done
kill -KILL "$started"
until_true "the keeper ends" is_gone "$held"

kill "$listener"
wait "$listener" || fail "the listener ended with $?"
test ! -e "$socket" || fail "the socket is there still"
