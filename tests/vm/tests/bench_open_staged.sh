#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A peer writes as fast as it can into 64 MiB of a DAX file: an outsider's open takes three flushes at most, the peer loses no more than the keeper's CPU.
# One processor for all, where the keeper has it hardest; its clock counts instructions, whatever else this machine does.
# on: host
# soak 3600
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

breaks=50
test -z "${DAXMR_TEST_LONG:-}" || breaks=1000
"$SRC/tests/vm/run" --kernel 6.1 --fs xfs --icount --timeout 3500 -- \
	"$daxmr" run --strategy=staged --flush-ms=0 -- "$programs/rdma_opens" /mnt/pmem/f "$breaks" ||
	fail "a goal was missed"
