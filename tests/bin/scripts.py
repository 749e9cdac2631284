"""The real scripts, run as processes on one state directory, from a working directory elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.registry.snapshot import difference, secrets, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "vpn" / "bin"
Argument = str | bytes | Path


class Outcome(NamedTuple):
    """How a script ended, and what it said."""

    status: int
    out: str
    err: str


def public_key(number: int) -> str:
    """A valid public key, another one for each number."""
    return b64encode(bytes([9, number % 256, number // 256, *range(3, 32)])).decode()


class Scripts:
    """``folder`` is the state directory; ``environ`` is all that the scripts see of the environment."""

    def __init__(self, folder: Path, elsewhere: Path) -> None:
        self.folder = folder
        self.elsewhere = elsewhere
        self.environ = {"PATH": os.environ["PATH"], "VPN_CONFIG_DIR": str(folder)}
        self.bin = BIN

    def command(self, script: str, *arguments: Argument) -> list[Argument]:
        """The command line of a script."""
        return [sys.executable, self.bin / f"{script}.py", *arguments]

    def run(
        self,
        script: str,
        *arguments: Argument,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
    ) -> Outcome:
        """Run a script to its end; ``through`` is a program that starts it."""
        done = subprocess.run(
            [*through, *self.command(script, *arguments)],
            input=stdin,
            capture_output=True,
            cwd=self.elsewhere,
            env={**self.environ, **(environ or {})},
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    @staticmethod
    def outcome(process: subprocess.Popen[bytes]) -> Outcome:
        """Wait for a process that was started with its output in pipes."""
        out, err = process.communicate(timeout=120)
        return Outcome(process.returncode, out.decode(), err.decode())

    def peer(self, *arguments: Argument, **options: Any) -> Outcome:
        """``configure_peer.py``."""
        return self.run("configure_peer", *arguments, **options)

    def done(self, *arguments: Argument, **options: Any) -> str:
        """``configure_peer.py``, which has to succeed without a word on stderr; what it printed."""
        outcome = self.peer(*arguments, **options)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        return outcome.out

    def refusal(self, *arguments: Argument, status: int = 1, saying: str, **options: Any) -> list[str]:
        """What is not as it should be when ``configure_peer.py`` refuses; see ``refusal_of``."""
        return self.refusal_of("configure_peer", *arguments, status=status, saying=saying, **options)

    def refusal_of(
        self,
        script: str,
        *arguments: Argument,
        status: int = 1,
        saying: str,
        on_stdout: bool = False,
        **options: Any,
    ) -> list[str]:
        """Run a command that has to be refused; every way in which it was not done well.

        Well is: the exit status, one printable line (matching ``saying``) on stderr or, for a health
        check, on stdout, no secret, no traceback, and nothing changed on disk.
        """
        before = snapshot(self.folder)
        outcome = self.run(script, *arguments, **options)
        after = snapshot(self.folder)
        line = outcome.out if on_stdout else outcome.err
        rest = outcome.err if on_stdout else outcome.out
        checks = {
            f"status {outcome.status}, not {status}": outcome.status == status,
            "not exactly one line": line.count("\n") == 1 and line.endswith("\n") and not rest,
            "not printable": line.removesuffix("\n").isprintable(),
            "a traceback": "Traceback" not in outcome.err,
            f"does not say {saying!r}": re.search(saying, line) is not None,
            "a secret is printed": not any(secret in outcome.out + outcome.err for secret in secrets(self.folder)),
            f"changed {difference(before, after)}": before == after,
        }
        return [f"{arguments!r:.200}: {what}; {outcome!r:.500}" for what, well in checks.items() if not well]
