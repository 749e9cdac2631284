"""Who stands behind the user id of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOBODY = 2**32 - 1
"""What the kernel gives for a process that no login began."""


def login(environ: Mapping[str, str], kernel: Path = Path("/proc/self/loginuid")) -> int | None:
    """The user id of who logged in and became the one that runs this; None where it is not known.

    The kernel's login id, which cannot be changed, where there is one (pam_loginuid sets it); else what sudo says.
    """
    try:
        known = int(kernel.read_text(encoding="ascii"))
    except (OSError, ValueError):
        known = _NOBODY
    if known != _NOBODY:
        return known
    said = environ.get("SUDO_UID", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) <= 10 else None
