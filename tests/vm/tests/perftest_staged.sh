#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Debian's perftest and rping, unchanged, on a DAX file and a device without ODP that can be trusted: plain fails, under daxmr works.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 8
server_options=(--mmap="$DAX/f")

if perftest ib_write_bw env : -s 65536 -n 200; then
	fail "ib_write_bw works on $DAX/f without daxmr: this test proves nothing"
fi
for program in ib_{write,read,send,atomic}_bw ib_{write,read,send,atomic}_lat; do
	options=(-s 65536 -n 100)
	case $program in
	*atomic*) options=(-n 50) ;;
	*_lat) options=(-s 64 -n 50) ;;
	esac
	perftest "$program" "$daxmr" run --log info -- : "${options[@]}" ||
		fail "$program: $(cat "$server_log" "$client_log")"
	has "$(cat "$server_log")" 'daxmr\[[0-9]+\] info: .* staged: fs-dax file'
	has_not "$(cat "$server_log")" 'daxmr\[[0-9]+\] (error|warn)'
	echo "$program: $(tail -2 "$client_log" | head -1)"
done
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi

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
