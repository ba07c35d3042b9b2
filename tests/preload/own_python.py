#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Python's own calls on a file that it has leased, under the preload: none waits, a change breaks no lease."""
import ctypes
import mmap
import os
import sys
import tempfile
import time

SIZE = 65536
HELD = 1


class Engine(ctypes.Structure):
    """provider/engine.h"""

    _fields_ = [(name, ctypes.c_void_p) for name in ("reg", "rereg", "dereg", "leased_files", "opening", "changing",
                                                     "punching", "truncate", "end", "closing", "closed")] + [
        ("acquire", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))),
        ("release", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64,
                                     ctypes.c_int64)),
        ("state", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)),
        ("reports", ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)),
    ]


class Want(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("addr", ctypes.c_size_t), ("type", ctypes.c_int), ("offset", ctypes.c_uint64),
                ("length", ctypes.c_uint64)]


def until_held():
    end = time.monotonic() + 20
    while engine.state(lease) != HELD:
        assert time.monotonic() < end, "not held again"
        time.sleep(0.0002)


def changes(what, call):
    """Not broken, not for a moment, nor taken for another's change: a second call tells when that is known."""
    before = engine.reports(lease)
    call()
    os.ftruncate(fd, os.fstat(fd).st_size)
    assert engine.reports(lease) == before, what
    assert engine.state(lease) == HELD, what


def opens(what, call):
    start = time.monotonic()
    call()
    until_held()
    assert time.monotonic() - start < 5, what


get = ctypes.CDLL(None).daxmr_private_engine
get.restype = ctypes.POINTER(Engine)
engine = get(int(sys.argv[1])).contents
folder = os.environ.get("DAXMR_TEST_DAX_DIR", ".")
fd, path = tempfile.mkstemp(prefix="own-test-", dir=folder)
try:
    os.ftruncate(fd, SIZE)
    lease = ctypes.c_void_p()
    want = Want(fd=fd, type=1, length=SIZE)
    r = engine.acquire(ctypes.byref(want), ctypes.byref(lease))
    if r == -95:
        print("files cannot be leased here")
        sys.exit(77)
    assert r == 0, r

    opens("os.open", lambda: os.close(os.open(path, os.O_RDWR)))
    opens("open", lambda: open(path, "rb").close())
    opens("open at", lambda: os.close(os.open(os.path.basename(path), os.O_RDONLY, dir_fd=os.open(folder, os.O_PATH))))
    changes("os.ftruncate", lambda: os.ftruncate(fd, 2 * SIZE))
    changes("os.truncate", lambda: os.truncate(path, SIZE))
    changes("os.posix_fallocate", lambda: os.posix_fallocate(fd, 0, 2 * SIZE))
    with mmap.mmap(fd, SIZE) as area:
        area[:SIZE] = b"x" * SIZE
        until_held()
        os.ftruncate(fd, 2 * SIZE)
        changes("madvise", lambda: area.madvise(mmap.MADV_REMOVE, 0, 4096))
        assert area[0] == 0 and area[4096] == ord("x")
    assert os.spawnlp(os.P_WAIT, "sh", "sh", "-c", ': <"$0"', path) == 0
    until_held()
    assert engine.release(lease, 0, SIZE, 2**63 - 1) == 0
finally:
    os.unlink(path)
