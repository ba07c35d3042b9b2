#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The problem of the beginning: on a kernel that lets a device pin fs-dax pages a truncate waits until the MR is gone.
# on: 6.1-stock-xfs 6.1-stock-ext4
# pin-dax
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

refused=$("$programs/rdma_hang" "$DAX/before" 2>&1) && fail "the kernel as it is pins fs-dax pages: $refused"
has "$refused" 'ibv_reg_mr.*: Operation not supported'
insmod /run/daxmr-vm/pin_dax.ko
trap 'rmmod pin_dax' EXIT
"$programs/rdma_hang" "$DAX/f"
