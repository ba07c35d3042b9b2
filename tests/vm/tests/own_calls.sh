#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A program's own calls on files that it has leased, on DAX: none waits for its own lease, a change breaks none.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 450
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# The one test that freezes it may fail before it thaws it.
trap 'fsfreeze -u "$DAX" 2>/dev/null || true' EXIT
export DAXMR_TEST_DAX_DIR=$DAX DAXMR_TEST_FREEZE=$DAX DAXMR_LOG=info
for name in calls threads locks many long processes; do
	out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so "$BUILD/tests/preload/preload-own-$name" 2>&1) || fail "$out"
	has_not "$out" 'SKIPPED|neither on ext4 nor on xfs'
	grep -E '^(lease back|flock gone|.*rounds of own calls)' <<<"$out" || true
done
version=$(sed -n 's/^#define DAXMR_ENGINE_VERSION //p' "$SRC/provider/engine.h")
out=$(LD_PRELOAD=$BUILD/libdaxmr-preload.so python3 "$SRC/tests/preload/own_python.py" "$version" 2>&1) || fail "$out"
out=$("$BUILD/unit-lease-own" 2>&1) || fail "$out"

left=$(find "$DAX" -name 'own-test-*' -o -name 'lease-test-*')
test -z "$left" || fail "left behind: $left"
