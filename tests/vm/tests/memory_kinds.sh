#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What lies at an address is recognised, fs-dax and huge pages included.
# on: 6.1-stock-xfs 6.1-stock-ext4 new-stock-xfs new-stock-ext4
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

echo 8 >/proc/sys/vm/nr_hugepages
# page-cache files lie in the current folder: the guest's overlay will not do
mkdir -p /root/kinds
mount -t ramfs none /root/kinds
cd /root/kinds
out=$(DAXMR_TEST_DAX_DIR=$DAX "$BUILD/unit-memory" 2>&1) || fail "$out"
has "$out" 'OK \] fsdax_files'
has "$out" 'OK \] hugetlb'
case $CONFIG in
new-*) has "$out" 'OK \] readers__agree' ;;
*) has "$out" 'no PROCMAP_QUERY' ;;
esac
cd /
umount /root/kinds
