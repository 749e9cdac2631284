"""Emptying folders: never through a symbolic link, never into another file system, never a ``.gitkeep``.

A folder that is kept for its ``.gitkeep`` keeps nothing else.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import files
from vpn.lib.errors import StateError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

KEPT = ".gitkeep"


class Contents(NamedTuple):
    """What is in a folder: how many files, and their size in bytes."""

    parts: tuple[str, ...]
    files: int
    size: int

    @property
    def path(self) -> str:
        """The folder, below the root that it was measured in."""
        return "/".join(self.parts)


def measure(root: Path, folders: Iterable[tuple[str, ...]]) -> list[Contents]:
    """What is in the folders below ``root`` that are there, ``.gitkeep`` aside; those with nothing are left out.

    Raises StateError for what ``remove`` would stop at.
    """
    found = []
    for parts in folders:
        try:
            with files.folder(root, *parts) as descriptor:
                count, total, goes, _ = _measure(descriptor, root.joinpath(*parts), os.fstat(descriptor).st_dev)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _not_ours(root.joinpath(*parts), error) from error
        if count or goes:
            found.append(Contents(parts, count, total))
    return found


def remove(root: Path, contents: Contents) -> None:
    """Remove what is in the folder, and the folder itself where no ``.gitkeep`` keeps it.

    Raises StateError that names the first file which this account may not remove, or what stands in the way.
    """
    path = root.joinpath(*contents.parts)
    try:
        with files.folder(root, *contents.parts[:-1]) as parent:
            descriptor = files.open_folder(parent, contents.parts[-1])
            try:
                kept = _empty(descriptor, path, os.fstat(descriptor).st_dev)
            finally:
                os.close(descriptor)
            if not kept:
                # Where its folder is another's it stays, empty: that is as good.
                with contextlib.suppress(OSError):
                    os.rmdir(contents.parts[-1], dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_ours(path, error) from error


def _measure(folder: int, path: Path, device: int) -> tuple[int, int, bool, bool]:
    """Files, their size, whether there are folders that would go, and whether a ``.gitkeep`` keeps this one."""
    count, total, goes, kept = 0, 0, False, False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == KEPT:
                kept = True
                continue
            status = entry.stat(follow_symlinks=False)
            _require_removable(folder, path / entry.name, status)
            if not stat.S_ISDIR(status.st_mode):
                count, total = count + 1, total + status.st_size
                continue
            with _inside(folder, entry.name, path / entry.name, device) as inner:
                files_, size, inner_goes, inner_kept = _measure(inner, path / entry.name, device)
            count, total = count + files_, total + size
            goes |= inner_goes or not inner_kept
            kept |= inner_kept
    return count, total, goes, kept


def _empty(folder: int, path: Path, device: int) -> bool:
    """Remove all below; whether a ``.gitkeep`` is left."""
    kept = False
    for name in os.listdir(folder):
        if name == KEPT:
            kept = True
            continue
        inner_path = path / name
        try:
            if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                with _inside(folder, name, inner_path, device) as inner:
                    inner_kept = _empty(inner, inner_path, device)
                if inner_kept:
                    kept = True
                else:
                    os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _not_ours(inner_path, error) from error
    return kept


@contextlib.contextmanager
def _inside(folder: int, name: str, path: Path, device: int) -> Iterator[int]:
    """A folder's descriptor. Raises StateError where another file system is mounted there."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise _not_ours(path, error) from error
    try:
        if os.fstat(descriptor).st_dev != device:
            raise StateError(f"{path} is another file system that is mounted there; unmount it, then clean again")
        yield descriptor
    finally:
        os.close(descriptor)


def _require_removable(folder: int, path: Path, status: os.stat_result) -> None:
    """Raise StateError where this account may not remove an entry of the folder: said before anything is gone."""
    above = os.fstat(folder)
    if os.geteuid() == 0:
        return
    sticky = above.st_mode & stat.S_ISVTX and os.geteuid() not in (status.st_uid, above.st_uid)
    if sticky or not os.access(f"/proc/self/fd/{folder}", os.W_OK | os.X_OK):
        raise StateError(f"{path} is not yours to remove (user {status.st_uid}'s); clean as that user, or with sudo")


def _not_ours(path: Path, error: OSError) -> StateError:
    if isinstance(error, PermissionError):
        return StateError(f"{path} is not yours to remove; clean as the user whom it belongs to, or with sudo")
    return StateError(f"cannot remove {path}: {describe_os_error(OSError(error.errno, error.strerror))}")
