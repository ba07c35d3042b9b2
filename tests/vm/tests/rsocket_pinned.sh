#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# rstream, unchanged, whose sends come from a pinned file that others read, cut off and let grow meanwhile, loses no connection and no byte;
# and a pinned file that is lent to the peer (riomap) has what the peer has written. In the page cache, and on fs-dax.
# on: 6.1-stock-xfs
# limit: 400
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

port=7500
is_listening() {
	rdma resource show cm_id | grep -q " state LISTEN .*:$port "
}

# As another process sees to it that waits for its turn: truncate(1) does not.
resize() { # FILE MIB
	dd if=/dev/null of="$1" bs=1M seek="$2" count=0 status=none
}

# There and back, and looked at. The file is longer than what rsocket sends from.
stream() { # FILE KIND TIMES
	local server client options=(-I "$3" -C 10 -S 30000 -T v)
	port=$((port + 1))
	timeout 150 rstream -p "$port" "${options[@]}" >server 2>&1 &
	server=$!
	until_is "listening" is_listening
	FILE_MEMORY=$1 LD_PRELOAD=$programs/file_memory.so timeout 150 \
		"$daxmr" run --strategy pinned --quiesce-ms 20000 --log info -- \
		rstream -s 10.0.0.1 -p "$port" "${options[@]}" >said 2>log &
	client=$!
	until_is "registered" grep -q "pinned: $2 file $1" log
	while kill -0 "$client" 2>/dev/null; do
		cat "$1" >/dev/null
		resize "$1" 1
		resize "$1" 2
		opens=$((opens + 3))
		sleep 0.3
	done
	wait "$client" || fail "$2: the client: $(cat said) $(tail -n 40 log)"
	wait "$server" || fail "$2: the server: $(cat server)"
	has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it'
	recalls=$((recalls + $(grep -c 'others want it: drained in' log)))
	echo "$2: $recalls recalls of $opens opens: $(tail -n 1 said)"
}

# Until five recalls were seen: the quicker the machine, the longer that takes.
streams() { # FILE KIND
	local recalls=0 opens=0 times=100
	make_file "$1" 2
	stream "$1" "$2" "$times"
	while test "$recalls" -lt 5; do
		times=$((times * 2))
		test "$times" -le 6400 || fail "$2: $recalls recalls of $opens opens: $(cat log)"
		stream "$1" "$2" "$times"
	done
}

# lent FILE KIND: the program itself opens the file again, and looks.
lent() {
	"$daxmr" run --strategy pinned --log info -- "$programs/rsocket_file" "$1" 10.0.0.1 >said 2>log ||
		fail "$2: $(cat said) $(tail -n 40 log)"
	has "$(cat said)" 'both halves are in the file'
	has "$(cat log)" "pinned: $2 file $1"
}

mount_cached
streams "$cached/f" page-cache
make_file "$cached/g" 1
lent "$cached/g" page-cache
insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax; unmount "$cached"' EXIT
streams "$DAX/f" fs-dax
make_file "$DAX/g" 1
lent "$DAX/g" fs-dax
