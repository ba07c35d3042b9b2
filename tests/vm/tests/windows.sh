#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# on_shrink=error: a peer that was told one rkey goes on while the file is cut off and grown again under it, by the program and by others; beyond the end it gets a remote access error, no write inside is lost, and what the program has in the file's place by then is not reached.
# on: 6.1-stock-xfs new-stock-xfs
# soak 1500
# short
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

# Of a peer that comes while rxe has the window on nothing: rdma_window.c. 6.1
# says so by itself.
witness="MW doesn't have an MR"
[[ $CONFIG == 6.1-* ]] || echo "module rdma_rxe format \"$witness\" +p" >/proc/dynamic_debug/control

rebinds=10 others=1
test -z "${DAXMR_TEST_LONG:-}" || rebinds=1000 others=10
"$daxmr" run --strategy staged --on-shrink error --log info -- "$programs/rdma_window" "$DAX/f" "$rebinds" "$others" >said 2>log ||
	fail "$(cat said) $(tail -n 60 log)"
cat said
has "$(cat log)" 'staged, by a window'
shorter=$(grep -c 'peers reach 4194304 of 8388608 bytes' log) || true
test "$shorter" -ge $((rebinds / 2 + others)) || fail "bound to less $shorter times: $(cat log)"
has "$(cat log)" 'peers reach 0 of 8388608 bytes'
has_not "$(cat log)" 'cannot follow|cannot be'

refused=$(sed -n 's/.*none lost, \([0-9]*\) refused .*/\1/p' said)
seen=$(dmesg | grep -c "check_rkey.*$witness") || true
test "${refused:-none}" -le "$seen" || fail "$refused messages refused, rxe knows of $seen: $(cat said log)"
test "$refused" -le $((1 + (rebinds + 2 * others) / 100)) || fail "$refused messages refused in $rebinds binds: $(cat said log)"
