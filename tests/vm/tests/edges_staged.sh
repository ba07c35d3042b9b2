#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Staged ranges at the edges work as memory does, mistakes get the errno of a plain registration, odp asked for by name is refused.
# on: 6.1-stock-ext4 new-stock-xfs
# limit: 180
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# All that is tested on the build machine's page cache, on DAX.
for program in preload-staged preload-staged_life; do
	out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so DAXMR_TEST_DAX_DIR=$DAX "$BUILD/tests/preload/$program" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
done

"$daxmr" run --log error -- "$programs/rdma_edges" staged "$DAX" || fail "see above"
if pgrep -x daxmr-keeper; then
	fail "a keeper is left"
fi
case $CONFIG in
6.1-*) refused=no-odp ;;
*) refused=refused ;;
esac
"$daxmr" run --strategy odp --log error -- "$programs/rdma_edges" $refused "$DAX" || fail "see above"
