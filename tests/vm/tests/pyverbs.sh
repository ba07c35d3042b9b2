#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# pyverbs, which loads libibverbs late and without RTLD_GLOBAL, registers a DAX file.
# on: 6.1-stock-xfs new-fixed-xfs
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$SRC/tests/vm/tests/lib.sh"

make_file "$DAX/f" 2
cat >try.py <<'PYTHON'
import ctypes, mmap, os, sys
from pyverbs.device import Context
from pyverbs.pd import PD
from pyverbs.mr import MR
from pyverbs.pyverbs_error import PyverbsRDMAError
import pyverbs.enums as e

fd = os.open(sys.argv[1], os.O_RDWR)
area = mmap.mmap(fd, 2 << 20)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
with Context(name="rxe0") as context, PD(context) as pd:
    with MR(pd, 4096, e.IBV_ACCESS_LOCAL_WRITE):
        print("ordinary memory registered")
    try:
        with MR(pd, 2 << 20, e.IBV_ACCESS_LOCAL_WRITE, address=address) as mr:
            print("file registered")
    except PyverbsRDMAError as error:
        print("file refused:", error)
PYTHON
out=$("$daxmr" run --log info -- /usr/bin/python3 try.py "$DAX/f" 2>&1) || fail "$out"
has "$out" 'ordinary memory registered'
case $CONFIG in
6.1-*)
	has "$out" 'file registered'
	has "$out" 'staged: fs-dax file'
	;;
*)
	has "$out" 'file registered'
	has "$out" 'odp: fs-dax file'
	;;
esac
