"""A program that takes long: shown while it runs, its output kept in a file, the end of it shown when it fails."""

from __future__ import annotations

import collections
import os
import subprocess
from typing import IO, TYPE_CHECKING

from vpn.lib.deploy.engine import explain
from vpn.lib.deploy.processes import printable
from vpn.lib.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.processes import Processes

SHOWN = 15
"""Lines of the output of a step that failed."""


class StepFailed(EngineError):
    """A long step failed; the end of its output has been shown."""


class LongRunning:
    """Runs steps one after the other, their whole output in the file ``log``, which begins empty."""

    def __init__(self, console: Console, processes: Processes, log: Path) -> None:
        self._console = console
        self._processes = processes
        self.log = log
        log.parent.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)

    def run(
        self,
        name: str,
        command: Sequence[str],
        advice: str,
        *,
        folder: Path | None = None,
        environ: Mapping[str, str] | None = None,
        quiet: bool = False,
    ) -> None:
        """Run a step. Raises StepFailed, which says ``advice``; with ``quiet`` without showing its output."""
        last: collections.deque[str] = collections.deque(maxlen=SHOWN)
        with self._console.step(name) as step, self._open() as log:
            log.write(f"== {name}: {' '.join(command)}\n".encode())
            process = self._processes.start(command, folder=folder, environ=environ, stderr=subprocess.STDOUT)
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    log.write(line)
                    log.flush()
                    text = line.decode(errors="replace")
                    if clean := printable(text):
                        last.append(clean)
                        step.news(clean)
                status = process.wait()
            finally:
                self._processes.end(process)
            self._processes.pause(0)
            if status != 0:
                step.end()
                if not quiet:
                    self._console.remark("\n".join(f"  {line}" for line in last))
                known = explain("\n".join(last))
                raise StepFailed(f"{name} failed: {known or advice}; all that it said is in {self.log}")

    def _open(self) -> IO[bytes]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self.log, flags, 0o644), "ab")
