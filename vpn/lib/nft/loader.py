"""Running ``nft``: loading the project's table, reading it and its counters, removing it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import FirewallError
from vpn.lib.nft.table import FAMILY, NAME, REMOVAL

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 5.0
"""Seconds that nft may take; it takes about 10 ms on an idle machine."""


class Counter(NamedTuple):
    """What a named counter has counted since its table was loaded."""

    packets: int
    bytes: int


class Nft:
    """``nft`` as found on the PATH of ``environ``, on the one table of the project. Raises FirewallError.

    nft needs CAP_NET_ADMIN and no more, whoever runs it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._process: subprocess.Popen[str] | None = None

    def load(self, text: str) -> None:
        """Apply a text (``table.replacement``), all of it or nothing."""
        status, _, errors = self._run(["-f", "-"], text)
        if status != 0:
            raise _refusal(errors)

    def remove(self) -> None:
        """Remove the table; harmless when it is not there."""
        self.load(REMOVAL)

    def listing(self) -> str:
        """The table as nft writes it, without its counters' values; empty when there is none.

        For comparison with an earlier listing only: nft has its own way to write what it was given.
        """
        status, listed, errors = self._run(["--stateless", "list", "table", FAMILY, NAME])
        if status != 0:
            if _MISSING in errors:
                return ""
            raise _refusal(errors)
        return listed

    def counters(self) -> dict[str, Counter]:
        """The named counters of the table; none where there is no table."""
        status, listed, errors = self._run(["--json", "list", "counters", "table", FAMILY, NAME])
        if status != 0:
            if _MISSING in errors:
                return {}
            raise _refusal(errors)
        try:
            # libnftables-json(5): {"nftables": [{"counter": {"name": ..., "packets": ..., "bytes": ...}}, ...]}
            items = [item["counter"] for item in json.loads(listed)["nftables"] if "counter" in item]
            return {str(item["name"]): Counter(int(item["packets"]), int(item["bytes"])) for item in items}
        except (ValueError, KeyError, TypeError) as error:
            raise FirewallError("nft printed counters that are none; update nftables to 1.0 or later") from error

    def kill(self) -> None:
        """End a running nft, without waiting: what waits for it ends at once. Safe in a signal handler."""
        if self._process is not None:
            self._process.kill()

    def _run(self, arguments: list[str], given: str = "") -> tuple[int, str, str]:
        path = self._environ.get("PATH", os.defpath)
        program = shutil.which("nft", path=path)
        if program is None:
            raise FirewallError("nft is not installed (not found on PATH); install the package nftables")
        try:
            self._process = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                # C: the messages are told apart.
                env={"PATH": path, "LC_ALL": "C"},
            )
            listed, errors = self._process.communicate(given, timeout=LIMIT)
            return self._process.returncode, listed, errors
        except subprocess.TimeoutExpired as error:
            raise FirewallError(
                f"nft did not end within {LIMIT:.0f} s; look at what it waits for (`ps`, `dmesg`)"
            ) from error
        except OSError as error:
            raise FirewallError(f"nft does not start ({error.strerror}); install the package nftables again") from error
        finally:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            process.wait()


_MISSING = "No such file or directory"


def _refusal(errors: str) -> FirewallError:
    """The library's error for what nft printed."""
    if "Operation not permitted" in errors:
        return FirewallError("nft may not change the packet filter; run this as root, or with CAP_NET_ADMIN")
    if "not supported" in errors or "cache initialization failed" in errors:
        return FirewallError(
            "this kernel has no nf_tables, or not all that the rules need; load it on the host (`modprobe nf_tables`)"
        )
    line = next((line for line in errors.splitlines() if "rror" in line), errors.strip().partition("\n")[0])
    said = "".join(character if character.isprintable() else " " for character in line)[:200] or "without a word"
    return FirewallError(
        f"nft refused the rules ({said}); the kernel may lack a module (nft_ct, nft_log, nft_reject_inet), or nft is"
        " older than 1.0"
    )
