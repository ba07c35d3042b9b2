#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A program that uses librpma as its manual says works on a staged file, where librpma alone fails, and what it persists is in the file.
# on: 6.1-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 1
if out=$("$programs/rpma_persist" "$DAX/f" 10.0.0.1 2>&1); then
	fail "librpma alone registered a DAX file: $out"
fi
has "$out" 'rpma_mr_reg of the file: .*Operation not supported'
out=$(timeout 100 "$daxmr" run --flush-ms=0 -- "$programs/rpma_persist" "$DAX/f" 10.0.0.1 2>&1) || fail "$out"
has "$out" '65536 bytes are persistent'
