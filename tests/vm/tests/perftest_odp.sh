#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's perftest and rping, unchanged, on a DAX file: plain fails, under daxmr works.
# on: new-fixed-xfs new-fixed-ext4
# limit: 300
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 8
server_options=(--mmap="$DAX/f")

for program in ib_write_bw ib_read_bw ib_send_bw ib_write_lat ib_read_lat ib_send_lat ib_atomic_bw; do
	options=(-s 65536 -n 200)
	case $program in
	*_lat) options=(-s 64 -n 100) ;;
	*atomic*) options=(-n 100) ;;
	esac
	if perftest $program env : "${options[@]}"; then
		fail "$program works on $DAX/f without daxmr: this test proves nothing"
	fi
	has "$(cat "$server_log")" "Couldn't allocate MR|failed to create mr|Failed"
	perftest $program "$daxmr" run --log info -- : "${options[@]}" ||
		fail "$program: $(cat "$server_log" "$client_log")"
	has "$(cat "$server_log")" 'daxmr\[[0-9]+\] info: .* odp: fs-dax file'
	echo "$program: $(tail -2 "$client_log" | head -1)"
done

# rping has its buffers in ordinary memory: it must not notice us.
"$daxmr" run -- rping -s -a 10.0.0.1 -C 20 -v -V >rping.log 2>&1 &
server=$!
wait_for_cm() {
	for _ in $(seq 100); do
		if "$daxmr" run -- rping -c -a 10.0.0.1 -C 20 -V; then
			return 0
		fi
		sleep 0.2
	done
	return 1
}
wait_for_cm || fail "rping client: $(cat rping.log)"
wait "$server" || fail "rping server: $(cat rping.log)"
