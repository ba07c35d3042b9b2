#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs parts of rdma-core's own tests, as python3-pyverbs brings them.

verbs_suite.py SUITE DEVICE FOLDER|- PART...

SUITE has tests/__init__.py. Every MR for which a test names no memory is on a
new file in FOLDER, unlinked at once; with - it is on what pyverbs takes, as the
tests are meant. Prints a line for each test: its name, a tab, and ok, skipped,
or the last line of what went wrong without its addresses.
"""
import ctypes
import importlib
import itertools
import mmap
import os
import re
import sys
import unittest

import pyverbs.mr

suite, device, folder = sys.argv[1:4]
parts = sys.argv[4:]
number = itertools.count()


class FileMR(pyverbs.mr.MR):
    def __init__(self, creator, length=0, access=0, address=None, implicit=False, **others):
        self.area = None
        if address is None and not implicit and length:
            path = os.path.join(folder, "mr%d" % next(number))
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.truncate(fd, -(-length // mmap.PAGESIZE) * mmap.PAGESIZE)
            # It has a descriptor of its own.
            self.area = mmap.mmap(fd, 0)
            os.close(fd)
            os.unlink(path)
            address = ctypes.addressof(ctypes.c_char.from_buffer(self.area))
        super().__init__(creator, length, access, address, implicit, **others)


class Lines(unittest.TestResult):
    def tell(self, test, what):
        print("%s\t%s" % (test.id(), re.sub(r"0x[0-9a-f]+|\d{4,}", "N", what)), flush=True)

    def addSuccess(self, test):
        self.tell(test, "ok")

    def addSkip(self, test, reason):
        self.tell(test, "skipped: " + reason)

    def addError(self, test, err):
        self.tell(test, "%s: %s" % (err[0].__name__, str(err[1]).split("\n", maxsplit=1)[0]))

    addFailure = addError


if folder != "-":
    pyverbs.mr.MR = FileMR
sys.path[:0] = [suite, os.path.join(suite, "tests")]
sys.argv[1:] = ["--dev", device]
importlib.import_module("args_parser").parser.parse_args()
loader = unittest.defaultTestLoader
unittest.TestSuite(
    loader.loadTestsFromModule(importlib.import_module("tests." + part)) for part in parts
).run(Lines())
