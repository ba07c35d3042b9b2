#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A page-cache file that the kernel refuses to pin (6.5 on) goes ODP or is staged; one that it pins is left alone.
# on: 6.1-stock-xfs new-stock-xfs new-fixed-xfs new-fixed-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

mount_cached
status=0
out=$("$daxmr" run --log info -- "$programs/rdma_pattern" "$cached/f" /tmp/model 100 2>&1) || status=$?
case $CONFIG in
6.1-*)
	test $status = 0 || fail "$out"
	has_not "$out" 'odp:|staged:'
	;;
new-stock-*)
	test $status = 0 || fail "status $status: $out"
	has "$out" "staged: page-cache file $cached/f .*corrupts data"
	cmp "$cached/f" /tmp/model || fail "the file is not as it must be"
	;;
new-fixed-*)
	test $status = 0 || fail "$out"
	has "$out" "odp: page-cache file $cached/f"
	cmp "$cached/f" /tmp/model || fail "the file is not as it must be"
	;;
esac
