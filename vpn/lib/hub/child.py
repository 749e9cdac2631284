"""The process beside the daemon that serves the hub's peers: started, watched, started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence

BACK_OFF = (0.0, 1.0, 5.0, 15.0, 60.0)
"""Seconds before each new start of one that ended; the last stays."""

LASTING = 120.0
"""Seconds after which one that ends counts as one that had worked."""


class Child:
    """A program that dies with this process. ``look`` starts it when it is due."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: logging.Logger) -> None:
        self._command = command
        self._environ = environ
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        # In seconds of the monotonic clock.
        self._started_at = self._due_at = 0.0
        self._failures = 0

    def look(self, now: float) -> None:
        """Start it where it does not run. Never raises: the daemon has more important things to do."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._failures = 0 if now - self._started_at > LASTING else self._failures + 1
            pause = BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
            self._log.warning(
                "what serves the peers has ended (status %d); starting it in %.0f s",
                status,
                pause,
                extra={"event": "serving-replaced"},
            )
            self._process, self._due_at = None, now + pause
        if now < self._due_at:
            return
        try:
            # setpriv sets the parent-death signal between fork and exec, where Python must not run code.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command], stdin=subprocess.DEVNULL, env=dict(self._environ)
            )
        except OSError as error:
            self._due_at = now + BACK_OFF[-1]
            self._log.error(
                "what serves the peers cannot be started: %s", error.strerror, extra={"event": "serving-failed"}
            )
        self._started_at = now

    def restart(self) -> None:
        """End it; the next ``look`` starts it with what it then finds."""
        self.stop()
        self._failures, self._due_at = 0, time.monotonic()

    def stop(self, patience: float = 1.0) -> None:
        """End it: SIGTERM, and SIGKILL after ``patience`` seconds."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def serving(environ: Mapping[str, str], log: logging.Logger, log_format: str) -> Child:
    """The process of ``vpn.lib.serving``, by this project's own script and Python."""
    script = Path(__file__).resolve().parents[2] / "bin" / "vpn_server.py"
    command = [sys.executable or "python3", os.fspath(script), "serve", "--log-format", log_format]
    return Child(command, environ, log)
