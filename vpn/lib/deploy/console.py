"""What the user sees: plain lines in a pipe; colour, and a line that moves, on a terminal."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from vpn.lib.deploy.processes import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COLOURS = {"green": "32", "yellow": "33", "red": "31", "grey": "90"}
HEARTBEAT = 60.0
"""Seconds between the lines that say, in a pipe, that a long step goes on."""


class Console:
    """Where the tool prints to: ``out`` for what was asked, ``err`` for remarks."""

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._err = err
        self.terminal = out.isatty() and environ.get("TERM") != "dumb"
        self.colour = self.terminal and not environ.get("NO_COLOR")
        self._lock = threading.Lock()
        self._moving = False

    def say(self, text: str = "") -> None:
        """Print what was asked for."""
        with self._lock:
            self._wipe()
            self._out.write(text + "\n")
            self._out.flush()

    def remark(self, text: str) -> None:
        """Print on stderr."""
        with self._lock:
            self._wipe()
            self._out.flush()
            self._err.write(text + "\n")
            self._err.flush()

    def done(self, text: str) -> None:
        """Say that something is as it should be."""
        self.say(f"{self.paint('✓', 'green')} {text}" if self.terminal else text)

    def paint(self, text: str, colour: str) -> str:
        """``text`` in a colour, where there are colours."""
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.colour else text

    def move(self, text: str) -> None:
        """Show a line that the next one replaces; on a terminal only."""
        if not self.terminal:
            return
        width = shutil.get_terminal_size().columns - 1
        with self._lock:
            self._out.write(f"\r{text[:width]}\x1b[K")
            self._out.flush()
            self._moving = True

    def _wipe(self) -> None:
        if self._moving:
            self._out.write("\r\x1b[K")
            self._moving = False

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show that a step runs, for how long, and the last thing it said; and that it is done."""
        step = Step(self, name)
        if not self.terminal:
            self.say(f"{name} ...")
        step.begin()
        try:
            yield step
        except BaseException:
            step.end()
            raise
        step.end()
        self.done(f"{name}, {duration(step.seconds)}" if self.terminal else f"{name}: done, {duration(step.seconds)}")


class Step:
    """A running step. ``news`` may come from any thread."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._news = ""
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._painter = threading.Thread(target=self._paint, daemon=True)

    @property
    def seconds(self) -> float:
        """Since its begin."""
        return time.monotonic() - self._began

    def news(self, line: str) -> None:
        """The last thing that it said."""
        if clean := printable(line):
            self._news = clean

    def begin(self) -> None:
        """Start to show it."""
        self._painter.start()

    def end(self) -> None:
        """Stop to show it."""
        self._ended.set()
        self._painter.join()

    def _paint(self) -> None:
        pause = 0.2 if self._console.terminal else HEARTBEAT
        while not self._ended.wait(pause):
            if self._console.terminal:
                self._console.move(f"{self._name}  {duration(self.seconds)}  {self._news}")
            else:
                self._console.say(f"{self._name}: {duration(self.seconds)}: {self._news}")


def duration(seconds: float) -> str:
    """``12 s`` or ``3:05``."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02}"


def size(count: int) -> str:
    """A number of bytes for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def plural(count: int, thing: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {thing}" + ("" if count == 1 else "s")
