"""A command on a terminal, as a person has it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts


class Terminal:
    """A command on a terminal of 100 by 24."""

    def __init__(self, scripts: Scripts, *arguments: str, **environ: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            scripts.command("configure_peer", *arguments),
            env={**scripts.environ, "TERM": "xterm", **environ},
            cwd=scripts.elsewhere,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = ""

    def until(self, text: str, limit: float = 60) -> None:
        """Read until the text was written."""
        deadline = time.monotonic() + limit
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._read(0.1)

    def _read(self, patience: float) -> bool:
        if not select.select([self.master], [], [], patience)[0]:
            return False
        self.seen += os.read(self.master, 1 << 16).decode()
        return True

    def end(self) -> int:
        """Wait for its end; its status. All that it wrote is in ``seen``."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.seen
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
