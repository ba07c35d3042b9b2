#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A device without ODP, and ODP asked for by name: fs-dax is refused with the kernel's errno and a sentence.
# on: 6.1-stock-xfs 6.1-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 4
server_options=(--mmap="$DAX/f")
sum=$(cksum <"$DAX/f")
if perftest ib_write_bw "$daxmr" run --strategy odp -- : -s 65536 -n 100; then
	fail "ib_write_bw works on $DAX/f, where nothing can make it work"
fi
log=$(cat "$server_log")
has "$log" "warn: fs-dax file $DAX/f \((xfs|ext4)\) cannot be registered: .*rxe0 has no on-demand paging"
test "$sum" = "$(cksum <"$DAX/f")" || fail "the file has changed"

status=0
out=$("$daxmr" check --strategy odp "$DAX/f" 2>&1) || status=$?
test "$status" = 1 || fail "daxmr check ended with $status: $out"
has "$out" 'refused'
has "$out" 'no on-demand paging'
