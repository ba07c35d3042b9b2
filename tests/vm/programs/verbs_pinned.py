#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Work of pyverbs on a region of a file that others cut off meanwhile.

verbs_pinned.py FILE SECONDS

Writes, reads, sends and atomics by ibv_post_send() and ibv_poll_cq(), and by
the extended QP (ibv_wr_start()) and CQ (ibv_start_poll()), one after another, by
turns, all from one region of FILE, while another process cuts FILE off and lets
it grow again, twice a second. Nothing of it may fail, and each has to bring its
bytes. The peers are in another context, in ordinary memory. Prints how often
what was done.
"""
import ctypes
import mmap
import os
import signal
import struct
import sys
import time

import pyverbs.enums as e
from pyverbs.addr import AHAttr, GlobalRoute
from pyverbs.cq import CQ, CQEX, CqInitAttrEx, PollCqAttr
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.qp import QP, QPAttr, QPCap, QPEx, QPInitAttr, QPInitAttrEx
from pyverbs.wr import SGE, RecvWR, SendWR

SIZE, KEPT = 4 << 20, 2 << 20
LENGTH = 40000
REMOTE = e.IBV_ACCESS_REMOTE_WRITE | e.IBV_ACCESS_REMOTE_READ | e.IBV_ACCESS_REMOTE_ATOMIC
ENOENT = 2
WRITE, READ, SEND, ATOMIC = (
    e.IBV_WR_RDMA_WRITE,
    e.IBV_WR_RDMA_READ,
    e.IBV_WR_SEND,
    e.IBV_WR_ATOMIC_FETCH_AND_ADD,
)
NAMES = {WRITE: "write", READ: "read", SEND: "send", ATOMIC: "atomic"}


def cut(path, program):
    """The other process; nothing of verbs or of the file is in it."""
    while os.getppid() == program:
        time.sleep(0.25)
        os.truncate(path, KEPT)
        time.sleep(0.25)
        os.truncate(path, SIZE)


class Plain:
    """ibv_post_send() and ibv_poll_cq()."""

    name = "posted"

    def __init__(self, context, pd):
        # Room for what is outstanding and no more.
        self.cq = CQ(context, 2)
        cap = QPCap(max_send_wr=1, max_recv_wr=1)
        init = QPInitAttr(qp_type=e.IBV_QPT_RC, scq=self.cq, rcq=self.cq, cap=cap, sq_sig_all=0)
        self.qp = QP(pd, init)

    def post(self, opcode, number, sge, address, rkey):
        wr = SendWR(wr_id=number, num_sge=1, sg=[sge], opcode=opcode, send_flags=e.IBV_SEND_SIGNALED)
        if opcode == ATOMIC:
            wr.set_wr_atomic(rkey, address, 1)
        elif opcode != SEND:
            wr.set_wr_rdma(rkey, address)
        self.qp.post_send(wr)

    def poll(self):
        count, wcs = self.cq.poll(1)
        return (wcs[0].status, wcs[0].wr_id) if count else None


class Extended:
    """ibv_wr_start() and ibv_start_poll()."""

    name = "extended"

    def __init__(self, context, pd):
        self.cq = CQEX(context, CqInitAttrEx(cqe=16, wc_flags=e.IBV_WC_STANDARD_FLAGS))
        ops = (
            e.IBV_QP_EX_WITH_RDMA_WRITE
            | e.IBV_QP_EX_WITH_RDMA_READ
            | e.IBV_QP_EX_WITH_SEND
            | e.IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD
        )
        init = QPInitAttrEx(
            cap=QPCap(max_send_wr=4, max_recv_wr=1),
            qp_type=e.IBV_QPT_RC,
            scq=self.cq,
            rcq=self.cq,
            pd=pd,
            comp_mask=e.IBV_QP_INIT_ATTR_PD | e.IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
            send_ops_flags=ops,
        )
        self.qp = QPEx(context, init)

    def post(self, opcode, number, sge, address, rkey):
        self.qp.wr_start()
        self.qp.wr_id = number
        self.qp.wr_flags = e.IBV_SEND_SIGNALED
        if opcode == WRITE:
            self.qp.wr_rdma_write(rkey, address)
        elif opcode == READ:
            self.qp.wr_rdma_read(rkey, address)
        elif opcode == SEND:
            self.qp.wr_send()
        else:
            self.qp.wr_atomic_fetch_add(rkey, address, 1)
        self.qp.wr_set_sge(sge)
        self.qp.wr_complete()

    def poll(self):
        r = self.cq.start_poll(PollCqAttr())
        if r == ENOENT:
            return None
        if r:
            sys.exit("ibv_start_poll: %d" % r)
        seen = self.cq.status, self.cq.wr_id
        self.cq.end_poll()
        return seen


def gid_of(context):
    for index in range(16):
        gid = context.query_gid(1, index)
        if str(gid).startswith("0000:0000:0000:0000:0000:ffff:"):
            return index, gid
    sys.exit("rxe0 has no IPv4 address")


def connect(context, qp, number):
    index, gid = gid_of(context)
    attr = QPAttr(port_num=1, path_mtu=e.IBV_MTU_1024)
    attr.dest_qp_num = number
    attr.qp_access_flags = REMOTE
    attr.max_rd_atomic = attr.max_dest_rd_atomic = 1
    attr.min_rnr_timer = 12
    attr.timeout = 17
    attr.retry_cnt = attr.rnr_retry = 7
    attr.ah_attr = AHAttr(gr=GlobalRoute(dgid=gid, sgid_index=index), is_global=1, port_num=1)
    qp.to_rts(attr)


def completion(end, what):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        seen = end.poll()
        if seen:
            return seen
        time.sleep(0.0002)
    sys.exit("%s: no completion" % what)


class Pair:
    """An end of the region's PD, and its peer with a buffer of its own."""

    def __init__(self, kind, here, there):
        self.end = kind(*here)
        self.peer = Plain(*there)
        self.buffer = MR(there[1], LENGTH + 8, e.IBV_ACCESS_LOCAL_WRITE | REMOTE)
        connect(here[0], self.end.qp, self.peer.qp.qp_num)
        connect(there[0], self.peer.qp, self.end.qp.qp_num)
        self.done = dict.fromkeys(NAMES, 0)
        self.count = 0  # at the peer, by atomics
        self.buffer.write(struct.pack("Q", 0), 8, LENGTH)

    def work(self, opcode, number, region, area, at):
        what = "%s %s %d" % (self.end.name, NAMES[opcode], number)
        pattern = b"%16d" % number * (LENGTH // 16)
        length = 8 if opcode == ATOMIC else LENGTH
        remote = self.buffer.buf + (LENGTH if opcode == ATOMIC else 0)
        if opcode == READ:
            self.buffer.write(pattern, LENGTH)
            area[at : at + LENGTH] = bytes(LENGTH)
        else:
            self.buffer.write(bytes(LENGTH), LENGTH)
            area[at : at + LENGTH] = pattern
        if opcode == SEND:
            into = SGE(self.buffer.buf, LENGTH, self.buffer.lkey)
            self.peer.qp.post_recv(RecvWR(sg=[into], num_sge=1, wr_id=number))
        sge = SGE(region.buf + at, length, region.lkey)
        self.end.post(opcode, number, sge, remote, self.buffer.rkey)
        seen = [completion(self.end, what)]
        if opcode == SEND:
            seen.append(completion(self.peer, what + ", received"))
        for status, wr_id in seen:
            if status != e.IBV_WC_SUCCESS or wr_id != number:
                sys.exit("%s: status %d, wr_id %d" % (what, status, wr_id))
        if opcode == ATOMIC:
            brought = struct.unpack("Q", area[at : at + 8])[0] == self.count
            self.count += 1
        elif opcode == READ:
            brought = area[at : at + LENGTH] == pattern
        else:
            brought = self.buffer.read(LENGTH, 0) == pattern
        if not brought:
            sys.exit("%s: has not brought what it should" % what)
        self.done[opcode] += 1


def main():
    path, seconds = sys.argv[1], float(sys.argv[2])
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.truncate(fd, SIZE)
    os.close(fd)
    wait, go = os.pipe()
    program, cutter = os.getpid(), os.fork()
    if not cutter:
        os.close(go)
        os.read(wait, 1)
        cut(path, program)
        os._exit(1)
    fd = os.open(path, os.O_RDWR)
    area = mmap.mmap(fd, SIZE)
    os.close(fd)
    # to be pinned fs-dax pages have to be there
    area[:] = bytes(SIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    here, there = Context(name="rxe0"), Context(name="rxe0")
    here, there = (here, PD(here)), (there, PD(there))
    region = MR(here[1], SIZE, e.IBV_ACCESS_LOCAL_WRITE, address=address)
    pairs = Pair(Plain, here, there), Pair(Extended, here, there)
    os.write(go, b"!")
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        for pair in pairs:
            for opcode in NAMES:
                number += 1
                # in what is never cut off
                pair.work(opcode, number, region, area, number % 16 * LENGTH)
    if os.waitpid(cutter, os.WNOHANG)[0]:
        sys.exit("truncate has failed")
    os.kill(cutter, signal.SIGKILL)
    os.waitpid(cutter, 0)
    for pair in pairs:
        print(pair.end.name, ", ".join("%d %ss" % (n, NAMES[op]) for op, n in pair.done.items()))


main()
