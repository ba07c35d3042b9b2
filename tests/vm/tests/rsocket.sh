#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# rsocket works in a program with a staged region, and lends memory of a staged file to its peer (riomap), which it cannot by itself.
# on: 6.1-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 1
if out=$(timeout 50 "$programs/rsocket_file" "$DAX/f" 10.0.0.1 2>&1); then
	fail "a DAX file was registered without daxmr: $out"
fi
has "$out" 'Operation not supported'
out=$(timeout 100 "$daxmr" run -- "$programs/rsocket_file" "$DAX/f" 10.0.0.1 2>&1) || fail "$out"
has "$out" 'both halves are in the file'
