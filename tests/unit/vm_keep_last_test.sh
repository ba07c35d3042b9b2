#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The rig keeps the folders of its last runs: several that remove the others at
# once say nothing, leave nothing half removed, and none that still runs goes.
set -u
HOME=${HOME:-/}
# shellcheck source=../vm/common
. "$1/common"
tmp=$(mktemp -d) || exit
trap 'rm -rf "$tmp"' EXIT

fail() {
	echo "$*"
	exit 1
}

for round in 1 2 3; do
	for i in $(seq -w 14); do
		mkdir -p "$tmp/run/$i/top/rig"
		touch "$tmp/run/$i"/{.live,serial.log,top/rig/file}
	done
	exec {live}>"$tmp/run/03/.live"
	flock "$live"
	removers=()
	for i in 1 2 3 4; do
		vm_keep_last 5 "$tmp/run" >>"$tmp/said" 2>&1 {live}>&- &
		removers+=("$!")
	done
	wait "${removers[@]}"
	exec {live}>&-
	test ! -s "$tmp/said" || fail "round $round: $(cat "$tmp/said")"
	left=$(cd "$tmp/run" && echo .[!.]* *)
	test "$left" = '.[!.]* 03 10 11 12 13 14' || fail "round $round: left are $left"
done
vm_keep_last 5 "$tmp/run"
test ! -e "$tmp/run/03" || fail 'what runs no more stays'

# One that has only just been made, and what somebody is about to remove, stay
# until they are an hour old: find is told that they are.
mkdir -p "$tmp/run/01/top" "$tmp/run/.gone.1.02/top"
vm_keep_last 5 "$tmp/run"
test -d "$tmp/run/01/top" || fail 'what has just been made goes'
test -d "$tmp/run/.gone.1.02/top" || fail 'what another removes is removed twice'
find() {
	command find "${@/#+60/-60}"
}
vm_keep_last 5 "$tmp/run"
left=$(cd "$tmp/run" && echo .[!.]* *)
test "$left" = '.[!.]* 10 11 12 13 14' || fail "an hour later left are $left"
