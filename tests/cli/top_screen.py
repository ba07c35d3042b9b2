#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""daxmr top on a terminal: one test, named, of those below.

usage: tests/cli/top_screen.py DAXMR CLI_REGIONS TEST

Waits for what is on the screen, never for a time; a minute at most.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

DEADLINE_S = 60
UP, DOWN, END = b"\x1b[A", b"\x1b[B", b"\x1b[F"
LEAVES = b"\x1b[?1049l"


class Regions:
    """A process that has regions."""

    def __init__(self, program, count):
        self.process = subprocess.Popen([program, str(count)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


class Screen:
    """daxmr top, and what its terminal shows."""

    def __init__(self, *command, rows=24):
        self.output = b""
        # what is set before it starts is what is to be there at its end
        self.master, slave = pty.openpty()
        self.resize(rows)
        self.modes = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                        env=dict(os.environ, TERM="xterm"))

    def resize(self, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))

    def press(self, keys):
        os.write(self.master, keys)

    def frame(self):
        """What was drawn last, and is all there: with styles, a line each."""
        parts = self.output.split(b"\x1b[H")
        return parts[-2].decode() if len(parts) > 2 else ""

    def lines(self):
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.frame())
        return [line.rstrip() for line in text.split("\r\n")]

    def files(self):
        """Of the rows, in their order."""
        return [int(line.rsplit("/pmem/file-", 1)[1]) for line in self.lines() if "/pmem/file-" in line]

    def selected(self):
        found = re.findall(r"\x1b\[7m[^\x1b]*/pmem/file-(\d+) *\x1b\[m", self.frame())
        return [int(number) for number in found]

    def read(self, deadline):
        if select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
            self.output += os.read(self.master, 65536)

    def until(self, what, is_true):
        deadline = time.monotonic() + DEADLINE_S
        while not is_true():
            if time.monotonic() > deadline:
                raise AssertionError(f"never {what}: {self.lines()}")
            self.read(deadline)

    def ended(self):
        """Its exit status; the terminal is as it was."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None or LEAVES not in self.output:
            if time.monotonic() > deadline:
                raise AssertionError(f"it has not ended: {self.output[-200:]}")
            self.read(min(deadline, time.monotonic() + 0.1))
        self.check_modes()
        return self.process.returncode

    def check_modes(self):
        assert termios.tcgetattr(self.slave) == self.modes, "the terminal is not as it was"


def quits(screen, _):
    screen.until("shown", lambda: screen.files() == [2, 1, 0])
    assert screen.lines()[0].startswith("daxmr top - "), screen.lines()
    assert screen.lines()[4].split()[:2] == ["PID", "COMMAND"], screen.lines()
    screen.press(b"q")
    assert screen.ended() == 0


def sorts(screen, _):
    screen.until("shown", lambda: screen.files() == [2, 1, 0])
    screen.press(b"MR")
    screen.until("by size, turned", lambda: screen.files() == [0, 1, 2])
    # none was chosen: that is the first, whichever it is
    screen.until("the first selected", lambda: screen.selected() == [0])
    screen.press(b"R")
    screen.until("by size", lambda: screen.files() == [2, 1, 0])
    screen.press(b"<<<<<R")
    screen.until("by PID, turned", lambda: "by PID turned round" in screen.lines()[0])
    screen.press(b">")
    screen.until("by COMMAND", lambda: "by COMMAND:" in screen.lines()[0])
    screen.press(b"\x03")
    assert screen.ended() == 0


def selects(screen, regions):
    screen.until("the first", lambda: screen.selected() == [2])
    screen.press(DOWN)
    screen.until("the second", lambda: screen.selected() == [1])
    screen.press(DOWN + b"MR")
    screen.until("the same where it went", lambda: screen.files() == [0, 1, 2] and screen.selected() == [0])
    screen.press(b"\r")
    screen.until("details", lambda: any("access local-write remote-read," in line for line in screen.lines()))
    regions.tell("recall 0")
    screen.press(END)
    screen.resize(60)
    screen.until("recalled", lambda: any(line.split() == ["recalls", "1"] for line in screen.lines()))
    regions.tell("flush 0")
    screen.until("flushed", lambda: any(line.split() == ["flushed", "1.0M"] for line in screen.lines()))
    screen.press(b"q")
    screen.until("the table", lambda: screen.selected() == [0])
    screen.press(b"\r")
    screen.until("details", lambda: any("access local-write remote-read," in line for line in screen.lines()))
    regions.tell("remove 0")
    screen.until("without the one that is gone", lambda: screen.files() == [1, 2])
    screen.press(b"hq?q\rqq")
    assert screen.ended() == 0


def resizes(screen, _):
    screen.until("shown", lambda: len(screen.files()) == 3)
    screen.resize(7)
    screen.until("two rows", lambda: len(screen.files()) == 2 and len(screen.lines()) <= 7)
    screen.press(END)
    screen.until("the last", lambda: screen.files() == [1, 0] and screen.selected() == [0])
    screen.resize(2)
    screen.until("two lines", lambda: len(screen.lines()) <= 2)
    screen.resize(24)
    screen.until("all", lambda: screen.files() == [2, 1, 0])
    screen.press(b"d0.2\r")
    screen.until("another delay", lambda: "every 0.2 s" in screen.lines()[0])
    screen.press(b"q")
    assert screen.ended() == 0


def stops(screen, _):
    screen.until("shown", lambda: screen.files() == [2, 1, 0])
    screen.press(b"\x1a")
    deadline = time.monotonic() + DEADLINE_S
    while not os.WIFSTOPPED(os.waitpid(screen.process.pid, os.WUNTRACED | os.WNOHANG)[1]):
        assert time.monotonic() < deadline, "it has not stopped"
        screen.read(time.monotonic() + 0.1)
    screen.check_modes()
    assert screen.process.poll() is None
    # what was drawn till then is not what is waited for
    screen.until("left", lambda: LEAVES in screen.output)
    screen.output = b""
    os.kill(screen.process.pid, signal.SIGCONT)
    screen.until("shown again", lambda: screen.files() == [2, 1, 0])
    os.kill(screen.process.pid, signal.SIGTERM)
    assert screen.ended() == 0


def ends_with_its_terminal(screen, _):
    screen.until("shown", lambda: screen.files() == [2, 1, 0])
    os.close(screen.slave)
    os.close(screen.master)
    screen.process.wait(DEADLINE_S)


TESTS = {test.__name__: test for test in (quits, sorts, selects, resizes, stops, ends_with_its_terminal)}


def main():
    if len(sys.argv) != 4 or sys.argv[3] not in TESTS:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    daxmr, program, name = sys.argv[1:]
    regions = Regions(program, 3)
    screen = Screen(daxmr, "top", "-d", "0.1", str(regions.pid))
    try:
        TESTS[name](screen, regions)
    finally:
        if screen.process.poll() is None:
            screen.process.kill()
    regions.end()
    return 0


sys.exit(main())
