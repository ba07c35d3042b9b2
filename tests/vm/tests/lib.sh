# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# What the rig's tests share. Each test is a script NAME.sh that runs in the
# guest with BUILD, SRC, DAX and CONFIG set; it fails with a sentence. Three
# comment lines say: what it proves, `# on: CONFIG...`, and where it needs more
# than two minutes `# limit: SECONDS`.
set -eu

export programs=$BUILD/tests/vm/programs
export daxmr=$BUILD/daxmr

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# has TEXT PATTERN: an extended regular expression, somewhere in the text.
has() {
	grep -Eq -e "$2" <<<"$1" || fail "'$2' is not in: $1"
}

has_not() {
	if grep -Eq -e "$2" <<<"$1"; then
		fail "'$2' is in: $1"
	fi
}

# until_is WHAT COMMAND...: a minute at most.
until_is() {
	local what=$1 n
	shift
	for n in $(seq 600); do
		! "$@" || return 0
		sleep 0.1
	done
	fail "not $what, $n times looked: $("$daxmr" list --json)"
}

# unmount FOLDER: the keeper of a program that has ended may be at a file there a
# little longer. EXIT traps call it too, where there may be nothing to unmount.
unmount() {
	! mountpoint -q "$1" || until_is "unmounted: $1" try_to_unmount "$1"
}

try_to_unmount() {
	umount "$1" 2>/dev/null
}

# A file system without DAX, in an image of its own, at $cached until the test
# ends or unmounts it.
mount_cached() {
	local image
	modprobe loop
	image=$(mktemp) cached=$(mktemp -d)
	truncate -s 64M "$image"
	mkfs.ext4 -q "$image"
	mount -o loop "$image" "$cached"
	trap 'unmount "$cached"' EXIT
}

# A DAX file of so many MiB, written, so that nothing is a hole.
make_file() { # PATH MIB
	dd if=/dev/zero of="$1" bs=1M count="$2" status=none
}

# perftest PROGRAM SERVER-PREFIX... : OPTIONS...: runs a server with the prefix
# before it and a client with DRAM, both with the options. Leaves the server's
# output in $server_log, the client's in $client_log; returns the worse status.
# A port of its own each time: the last one's may still be waited for.
perftest_port=18500
perftest() {
	local program=$1 prefix=() status=0 client=0
	shift
	while test "$1" != :; do
		prefix+=("$1")
		shift
	done
	shift
	perftest_port=$((perftest_port + 1))
	server_log=$(mktemp) client_log=$(mktemp)
	local options=(-d rxe0 -F -p "$perftest_port")
	"${limit[@]}" "${prefix[@]}" "$program" "${options[@]}" "${server_options[@]}" "$@" \
		>"$server_log" 2>&1 &
	local server=$!
	wait_for_port "$perftest_port" "$server" &&
		"${limit[@]}" "$program" "${options[@]}" "$@" 10.0.0.1 >"$client_log" 2>&1 ||
		client=$?
	wait "$server" || status=$?
	test "$status" != 0 || status=$client
	return "$status"
}
server_options=() limit=(timeout 60)

# Until the server listens, or is gone.
wait_for_port() { # PORT PID
	local n
	for n in $(seq 200); do
		if ss -Hltn "sport = :$1" | grep -q .; then
			return 0
		fi
		kill -0 "$2" 2>/dev/null || return 1
		sleep 0.1
	done
	echo "port $1 was not opened in $n tenths of a second" >&2
	return 1
}
