"""The ``config_peers`` tree: ``TYPE/ID/config.env``, what is handed to each component.

A projection: it is written from the registry and can be thrown away.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from vpn.lib.errors import InvalidInput, StateError, describe_os_error
from vpn.lib.files import (
    FILE_MODE,
    exists_at,
    folder,
    open_folder,
    refuse_link,
    sync_file_system,
    temporary_name,
    write_at,
)
from vpn.lib.registry.peer import PeerType, parse_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vpn.lib.files import Owner
    from vpn.lib.registry.peer import PeerName

FOLDER = "config_peers"
FILE = "config.env"


class Tree:
    """The tree below the state directory ``root``. Callers hold the lock that serialises writers."""

    def __init__(self, root: Path, owner: Owner | None = None) -> None:
        self._root = root
        self._owner = owner

    def path(self, name: PeerName) -> Path:
        """Where the peer's config.env is."""
        return self._root / FOLDER / name.type.value / name.id / FILE

    def write(self, name: PeerName, text: str) -> None:
        """Put the peer's config.env in place. Raises StateError, also for a symbolic link on the way."""
        self._write([(name, text)], durable=True)

    def write_all(self, texts: Iterable[tuple[PeerName, str]]) -> None:
        """``write`` of many, synced once, together."""
        self._write(texts, durable=False)
        try:
            sync_file_system(self._root)
        except OSError as error:
            raise _failed("write", self._root / FOLDER, error) from error

    def _write(self, texts: Iterable[tuple[PeerName, str]], *, durable: bool) -> None:
        with ExitStack() as stack:
            parents: dict[PeerType, int] = {}
            for name, text in texts:
                try:
                    if name.type not in parents:
                        opening = folder(self._root, FOLDER, name.type.value, owner=self._owner, create=True)
                        parents[name.type] = stack.enter_context(opening)
                    directory = open_folder(
                        parents[name.type], name.id, owner=self._owner, create=True, durable=durable
                    )
                    try:
                        write_at(directory, FILE, text.encode(), owner=self._owner, durable=durable)
                    finally:
                        os.close(directory)
                except OSError as error:
                    raise _failed("write", self.path(name), error) from error

    def check(self, name: PeerName) -> None:
        """Raise StateError when something that is not the peer's folder or file stands in its place."""
        self.check_all([name])

    def check_all(self, names: Iterable[PeerName]) -> None:
        """``check`` of many."""
        with ExitStack() as stack:
            parents: dict[PeerType, int | None] = {}
            for name in names:
                if name.type not in parents:
                    try:
                        parents[name.type] = stack.enter_context(folder(self._root, FOLDER, name.type.value))
                    except FileNotFoundError:
                        parents[name.type] = None
                parent = parents[name.type]
                if parent is None:
                    continue
                try:
                    directory = open_folder(parent, name.id)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise _failed("read", self.path(name), error) from error
                try:
                    refuse_link(directory, FILE)
                finally:
                    os.close(directory)

    def matches(self, name: PeerName, text: str) -> bool:
        """Whether the peer's config.env is there with this text and no more than its mode, and nothing half done."""
        try:
            with folder(self._root, *self._parts(name)) as directory:
                if exists_at(directory, temporary_name(FILE)):
                    return False
                descriptor = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                with open(descriptor, "rb") as file:
                    status = os.fstat(descriptor)
                    return stat.S_IMODE(status.st_mode) & ~FILE_MODE == 0 and file.read(1 << 16) == text.encode()
        except (OSError, StateError):
            return False

    def names(self) -> set[PeerName]:
        """Whose folders are there. What no peer can have as its folder is passed over."""
        found = set()
        for peer_type in PeerType:
            for path in (self._root / FOLDER / peer_type.value).glob("*"):
                with suppress(InvalidInput):
                    found.add(parse_name(peer_type, path.name))
        return found

    def delete(self, name: PeerName) -> None:
        """Remove the peer's config.env and its folder where nothing else is in it."""
        try:
            with folder(self._root, FOLDER, name.type.value) as parent:
                with folder(self._root, *self._parts(name)) as directory:
                    for entry in (FILE, temporary_name(FILE)):
                        with suppress(FileNotFoundError):
                            os.unlink(entry, dir_fd=directory)
                # What somebody else put beside it is not ours to delete.
                with suppress(OSError):
                    os.rmdir(name.id, dir_fd=parent)
                os.fsync(parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("delete", self.path(name), error) from error

    @staticmethod
    def _parts(name: PeerName) -> tuple[str, str, str]:
        return (FOLDER, name.type.value, name.id)


def _failed(verb: str, path: Path, error: OSError) -> StateError:
    return StateError(f"cannot {verb} {path}: {describe_os_error(OSError(error.errno, error.strerror))}")
