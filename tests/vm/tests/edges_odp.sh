#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Ranges at the edges work as ODP does, mistakes get the errno of a plain registration.
# on: new-fixed-xfs new-fixed-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

"$daxmr" run --log error -- "$programs/rdma_edges" odp "$DAX" || fail "see above"
