"""The folder of uploaded files: each is whole, on the disk, and under a name that nobody can guess, or absent.

A file is written beside its final place as ``.partial-ID`` and renamed when it is complete, so that there is no
second copy. What a killed process leaves is swept before the next one starts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESERVE = 1 << 20
"""Bytes of the disk that uploads leave free: the database needs a little room, if only to delete something."""

ID_PATTERN = "[0-9a-f]{48}"
_ID = re.compile(ID_PATTERN)
_PARTIAL = re.compile(rf"\.partial-{ID_PATTERN}")
_BALLAST = ".ballast"
_BALLAST_BYTES = 256 << 10
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoom(OSError):
    """The disk, or the quota on it, is full."""


def new_id() -> str:
    """192 random bits: whoever knows an upload's id may read it."""
    return secrets.token_hex(24)


def free_bytes(folder: Path) -> int:
    """How much more uploads may fill."""
    status = os.statvfs(folder)
    return max(0, status.f_bavail * status.f_frsize - RESERVE)


def ids(folder: Path) -> Iterator[str]:
    """The ids of the files that are there."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if _ID.fullmatch(entry.name))


def remove(folder: Path, identifier: str) -> None:
    """Remove a file; harmless when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        (folder / identifier).unlink()


def sweep(folder: Path) -> int:
    """Remove what is half-written, while nobody writes; how many files that were."""
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if _PARTIAL.fullmatch(entry.name)]
    for name in left:
        remove(folder, name)
    return len(left)


def lay_ballast(folder: Path) -> None:
    """Keep a little of the disk for the time when others have filled it; nothing where it is full already."""
    path = folder / _BALLAST
    if path.exists():
        return
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(bytes(_BALLAST_BYTES))
    except FileExistsError:
        return  # another thread was quicker
    except OSError:
        path.unlink(missing_ok=True)


def drop_ballast(folder: Path) -> None:
    """Give that little back, for something that must be done."""
    remove(folder, _BALLAST)


class Partial:
    """A file on its way into ``folder``. As a context manager: gone at the end unless ``keep`` was called.

    Every method raises NoRoom when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.id = new_id()
        self.size = 0
        self._folder = folder
        self._path = folder / f".partial-{self.id}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _disk_errors():
            self._descriptor = os.open(self._path, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        if free_bytes(self._folder) < len(data):
            raise NoRoom(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = memoryview(data)
        with _disk_errors():
            while view:
                written = os.write(self._descriptor, view)
                view = view[written:]
        self.size += len(data)

    def keep(self) -> None:
        """Put the file in its place; it is on the disk when this returns."""
        with _disk_errors():
            os.fsync(self._descriptor)
            self._path.rename(self._folder / self.id)
            sync_folder(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoRoom(error.errno, error.strerror) from error
        raise
