"""Programs that this one starts: by argument lists, never through a shell, and none left behind."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import EngineError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LIMIT = 120.0
"""Seconds that a program may take which is not known to take long."""


class Result(NamedTuple):
    """How a program ended, and what it printed."""

    status: int
    out: str
    err: str

    def why(self) -> str:
        """The last thing that it said, as one printable line: what made it fail."""
        return last_line(self.err) or last_line(self.out) or f"it ended with status {self.status}"


def last_line(text: str) -> str:
    """The last line with something on it, printable and of bounded length; empty where there is none."""
    for line in reversed(text.splitlines()):
        if clean := printable(line):
            return clean
    return ""


def printable(line: str) -> str:
    """A line that cannot act on a terminal: without escape sequences and control characters, at most 400 long."""
    import re

    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rstrip("\r\n").rpartition("\r")[2])
    return "".join(character if character.isprintable() else " " for character in line).strip()[:400]


class Processes:
    """The programs that run for this one. After ``stop`` they are ended, and no other is started.

    Safe to use from several threads; ``environ`` is what all of them get.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        data: str = "",
        limit: float = LIMIT,
    ) -> Result:
        """Run to the end; ``data`` is its standard input.

        Raises EngineError when the program is missing or takes longer than ``limit`` seconds.
        """
        process = self.start(command, folder=folder, stdin=subprocess.PIPE)
        try:
            out, err = process.communicate(data.encode(), timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"`{' '.join(command[:3])}` has not ended after {limit:.0f} s; see whether the Docker daemon answers"
                " (`docker ps`), then try again"
            ) from error
        finally:
            self.end(process)
        if self._stopped.is_set():
            raise Interrupted("interrupted; run it again to go on")
        return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def start(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        environ: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start a program; the caller hands it to ``end``. Raises EngineError when it is missing."""
        with self._lock:
            if self._stopped.is_set():
                raise Interrupted("interrupted; run it again to go on")
            try:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**self.environ, **(environ or {})},
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                )
            except FileNotFoundError as error:
                raise EngineError(_missing(command[0])) from error
            self._running.add(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """See to it that a program is gone, and its pipes with it."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        with self._lock:
            self._running.discard(process)

    def pause(self, seconds: float) -> None:
        """Wait. Raises Interrupted after ``stop``."""
        if self._stopped.wait(seconds):
            raise Interrupted("interrupted; run it again to go on")

    def stop(self) -> None:
        """End all that run; whoever waits for them gets Interrupted."""
        with self._lock:
            self._stopped.set()
            running = list(self._running)
        for process in running:
            with contextlib.suppress(OSError):
                process.terminate()


def _missing(program: str) -> str:
    if program == "docker":
        return (
            "docker is not installed; install it (Debian: `apt-get install docker.io docker-compose`), then try again"
        )
    return f"{program} is not installed; install it, then try again"
