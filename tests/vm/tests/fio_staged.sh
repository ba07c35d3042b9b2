#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's fio, unchanged, with the buffers of both its ends in DAX files, on a device without ODP that can be trusted: the files have what it moved.
# on: 6.1-stock-xfs
# short
# soak
# packages: fio
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

depth=4 block=65536 port=19300

# fill FILE CHARACTER: all that fio has of it.
fill() {
	head -c $((depth * block)) /dev/zero | tr '\0' "$2" >"$1"
	head -c 65536 /dev/zero >>"$1"
}

# check FILE CHARACTER: fio's part is nothing else, and it wrote to no other.
check() {
	local size
	size=$(stat -c %s "$1")
	test "$size" = $(((depth + 1) * block)) || fail "$1 has $size bytes"
	test "$(head -c $((depth * block)) "$1" | tr -d "$2" | wc -c)" = 0 || fail "$verb: $1 is not all '$2'"
	test "$(tail -c $block "$1" | tr -d '\0' | wc -c)" = 0 || fail "$verb: $1 has more than was moved"
}

# end NAME OPTION...: one of the two, in a thread of fio's.
end() {
	local name=$1
	shift
	timeout 60 "$daxmr" run --log info -- fio --name="$name" --thread --ioengine=rdma --port=$port --bs=$block \
		--iodepth=$depth --size=1m --iomem="mmapshared:$DAX/$name" --aux-path="$PWD" "$@" >"$name.log" 2>&1
}

# Its port is the RDMA device's, of which ss(8) does not know.
wait_for_listener() { # PID
	local n
	for n in $(seq 300); do
		! rdma resource show cm_id | grep -q " state LISTEN .*:$port " || return 0
		kill -0 "$1" 2>/dev/null || return 1
		sleep 0.1
	done
	echo "nobody has listened in $n tenths of a second" >&2
	return 1
}

# connect VERB: a server and a client.
connect() {
	local server
	port=$((port + 1))
	end server --rw=read &
	server=$!
	wait_for_listener $server || fail "$1, server: $(cat server.log)"
	end client --rw=write --hostname=10.0.0.1 --verb="$1" --buffer_pattern=0x63 --iodepth_batch_complete=1 ||
		fail "$1, client: $(cat client.log server.log)"
	wait $server || fail "$1, server: $(cat server.log client.log)"
}

for verb in write read ${DAXMR_TEST_LONG:+send}; do
	fill "$DAX/server" s
	fill "$DAX/client" -
	connect "$verb"
	for name in server client; do
		has "$(cat $name.log)" 'daxmr\[[0-9]+\] info: .* staged: fs-dax file'
		has_not "$(cat $name.log)" 'daxmr\[[0-9]+\] (error|warn)'
	done
	# A c is what the client has for the server, whose own is an s.
	case $verb in
	read)
		check "$DAX/client" s
		check "$DAX/server" s
		;;
	*)
		check "$DAX/client" c
		check "$DAX/server" c
		;;
	esac
	echo "$verb: $(grep WRITE: client.log)"
done
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi
