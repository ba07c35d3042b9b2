#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The stock soft-RoCE corrupts data: the trust test sees it, nothing reaches a user's file by its paging.
# on: new-stock-xfs new-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 4
server_options=(--mmap="$DAX/f")
sum=$(cksum <"$DAX/f")
# not even when it is asked for by name
if perftest ib_write_bw "$daxmr" run --strategy odp -- : -s 65536 -n 100; then
	fail "--strategy odp was let through to a device that corrupts data"
fi
has "$(cat "$server_log")" "warn: fs-dax file $DAX/f .*on-demand paging of rxe0 corrupts data \(.*byte"
test "$sum" = "$(cksum <"$DAX/f")" || fail "the file has changed"
# else it is staged, whose registrations page nothing
"$daxmr" run --log info -- "$programs/rdma_pattern" "$DAX/s" /tmp/model 40 2>err || fail "$(cat err)"
has "$(cat err)" 'staged: fs-dax file .*on-demand paging of rxe0 corrupts data'
cmp "$DAX/s" /tmp/model || fail "the staged file is not as it must be"

# that the verdict is just: without us the same device does corrupt the file
if "$daxmr" run --strategy passthrough -- env LD_PRELOAD="$programs/force_odp.so" \
	"$programs/rdma_pattern" "$DAX/g" /tmp/model 40 2>err; then
	fail "the stock driver put every byte where it belongs: this test is out of date"
fi
has "$(cat err)" 'byte|mapping is not what'

status=0
out=$("$daxmr" check --strategy odp "$DAX/f" 2>&1) || status=$?
test "$status" = 1 || fail "daxmr check ended with $status: $out"
has "$out" 'refused'
has "$out" 'corrupts data|wrong'
