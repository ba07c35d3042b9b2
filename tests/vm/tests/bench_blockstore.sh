#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The block store's four clients read a staged file as fast as memory (0.97 at least); what writes with commits cost is printed.
# One processor for all; its clock counts instructions, whatever else this machine does.
# on: host
# soak 3600
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

pairs=3
test -z "${DAXMR_TEST_LONG:-}" || pairs=5
"$SRC/tests/vm/run" --kernel 6.1 --fs xfs --icount --timeout 3500 --env "SRC=$SRC" --env "BUILD=$BUILD" --env DAX=/mnt/pmem -- \
	"$SRC/tests/bench/blockstore.sh" staged "$pairs" ||
	fail "a goal was missed"
