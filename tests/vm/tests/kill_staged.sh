#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Staged, kill -9 at any moment: all that a peer was told is done, and all that the program had stored, is in the file.
# on: 6.1-stock-xfs new-stock-ext4
# limit: 180
# short
# soak 1500
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

rounds=4 times=1
test -z "${DAXMR_TEST_LONG:-}" || rounds=200 times=10

device=$(findmnt -n -o SOURCE "$DAX")
"$daxmr" run --strategy staged -- "$programs/rdma_killed" "$DAX/f" "$device" \
	"moments:$rounds" "child:$times" "keeper:$times" "both:$times" || fail "see above"
