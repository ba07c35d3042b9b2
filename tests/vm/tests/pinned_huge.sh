#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A file of hugetlbfs is pinned under a lease for who asks for that region, where the kernel has leases there: what comes into it is in the file after others have cut that off and let it grow.
# There are huge pages for that file alone: those that are cut off have to be given back. On new kernels the region is refused, and says why.
# on: 6.1-stock-xfs new-stock-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

echo 2 >/proc/sys/vm/nr_hugepages
trap 'unmount huge; echo 0 >/proc/sys/vm/nr_hugepages' EXIT
mkdir huge
mount -t hugetlbfs -o pagesize=2M none huge
case $CONFIG in
6.1-*)
	"$daxmr" run --quiesce-ms 20000 --log info "$programs/pinned_asked" "$PWD/huge/asked" 4 >said 2>log || fail "$(cat said log)"
	has "$(cat log)" 'pinned: hugetlbfs .*/huge/asked'
	has "$(cat log)" 'others want it: drained in'
	has "$(cat log)" '4096 of 8292 bytes registered again'
	has "$(cat log)" ' 8292 of 8292 bytes registered again'
	has_not "$(cat log)" '[1-9][0-9]* QPs severed|still have it|cannot be|the kernel took it'
	;;
*)
	if "$daxmr" run --log info "$programs/pinned_asked" "$PWD/huge/asked" 4 >said 2>log; then
		fail "there are leases on hugetlbfs: $(cat said log)"
	fi
	has "$(cat said log)" 'daxmr_reg_mr: .*/huge/asked is on hugetlbfs, which has no leases on this kernel'
	;;
esac
