"""Django's secret key: made once, in a file that is whole or absent."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

from uploads.configuration import ConfigurationError
from uploads.storage import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "secret_key"
_SHORTEST = 50


def read(folder: Path) -> str:
    """The key. Raises FileNotFoundError when there is none, ConfigurationError when the file is damaged."""
    path = folder / _NAME
    key = path.read_text("ascii", "replace").strip()
    if len(key) < _SHORTEST:
        raise ConfigurationError(f"{path} is damaged; remove it, a new one is made at the next start")
    return key


def make(folder: Path) -> None:
    """Make the key where there is none. Raises ConfigurationError when the file is damaged."""
    with contextlib.suppress(FileNotFoundError):
        read(folder)
        return
    temporary = folder / f".{_NAME}.tmp"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_SHORTEST) + "\n")
            file.flush()
            os.fsync(descriptor)
        temporary.rename(folder / _NAME)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(folder)
