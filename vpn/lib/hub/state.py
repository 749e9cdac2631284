"""Opening the hub's state: its registry, made new or of an older installation where there is none."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import StateError, describe_os_error
from vpn.lib.files import FILE_MODE, FOLDER_MODE, Lock, folder, tighten
from vpn.lib.registry import sqlite
from vpn.lib.registry.tree import FOLDER as TREE_FOLDER
from vpn.lib.wireguard.keys import PrivateKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry

REGISTRY_FOLDER = "ip_assign"
REGISTRY_FILE = "registry.db"
WIREGUARD_FOLDER = "wireguard"
WG_CONF = "wg0.conf"


class Notice(NamedTuple):
    """Something that happened to the state and that its keeper should read: ``warning`` if it needs care."""

    warning: bool
    text: str


def registry_path(settings: Settings) -> Path:
    """Where the registry is."""
    return settings.folder / REGISTRY_FOLDER / REGISTRY_FILE


DAEMON_PATIENCE = 1.0
"""Seconds that the daemon waits for a command's lock before it looks after other things again."""


def command_lock(settings: Settings, timeout: float = 30.0) -> Lock:
    """Held by whoever changes the registry or a projection of it, so that projections follow in order."""
    return Lock(settings.folder / REGISTRY_FOLDER / "commands.lock", owner=settings.owner, timeout=timeout)


def daemon_lock(settings: Settings) -> Lock:
    """Held by the hub's daemon: one for a state directory."""
    return Lock(settings.folder / WIREGUARD_FOLDER / "daemon.lock", owner=settings.owner)


def exists(settings: Settings) -> bool:
    """Whether there is a registry, or an older installation to make one of."""
    path = registry_path(settings)
    if path.exists() or path.is_symlink():
        return True
    from vpn.lib.registry import takeover

    return takeover.is_older_installation(settings.folder)


def make_folders(settings: Settings) -> None:
    """Make the folders of the state directory. Raises StateError."""
    try:
        for name in (REGISTRY_FOLDER, WIREGUARD_FOLDER, TREE_FOLDER):
            with folder(settings.folder, name, owner=settings.owner, create=True):
                pass
    except OSError as error:
        raise StateError(
            f"cannot prepare {settings.folder}: {describe_os_error(OSError(error.errno, error.strerror))}"
        ) from error


def open_registry(
    settings: Settings, notify: Callable[[Notice], None], clock: Callable[[], float] = time.time
) -> Registry:
    """The registry; where there is none, one is made, or an older installation is taken over.

    Call it with the command lock held, so that only one process makes it. ``notify`` hears what was done.
    Raises StateError when the state is damaged: it is never replaced by an empty one.
    """
    path = registry_path(settings)
    if not path.exists() and not path.is_symlink():
        # Not at the top: it costs every command 6 ms, and is needed once in a hub's life.
        from vpn.lib.registry import takeover

        try:
            if takeover.is_older_installation(settings.folder):
                _take_over(settings, path, notify, clock())
            else:
                sqlite.create(path, PrivateKey.generate(), (), (), settings.owner)
        except OSError as error:
            raise StateError(
                f"cannot make {path}: {describe_os_error(OSError(error.errno, error.strerror))}"
            ) from error
    # Not before a take-over: one that is refused leaves everything as it was.
    for notice in tighten_modes(settings):
        notify(notice)
    try:
        return _finished(settings, sqlite.SqliteRegistry(path, owner=settings.owner))
    except sqlite.Outdated:
        from vpn.lib.registry import migration

        copy = migration.migrate(path, settings.owner, clock())
        notify(Notice(False, f"brought {path.name} up to date with this release; a copy of the former one is {copy}"))
    return sqlite.SqliteRegistry(path, owner=settings.owner)


def _finished(settings: Settings, registry: Registry) -> Registry:
    """The registry, after what a restore that was killed had still to write."""
    if registry.pending():
        from vpn.lib.hub import restore

        try:
            if restore.write_pending(settings, registry):
                raise StateError("a restore that was interrupted is finished, with its config.env; run this again")
            restore.project(settings, registry)
        except BaseException:
            registry.close()
            raise
    return registry


def _take_over(settings: Settings, path: Path, notify: Callable[[Notice], None], now: float) -> None:
    from vpn.lib.registry import takeover

    found = takeover.read(settings.folder, settings.plan, now)
    backup = takeover.back_up(settings.folder, settings.owner, now)
    sqlite.create(path, found.private_key, found.peers, found.used, settings.owner, now=now, leaked=found.leaked)
    added = sum(peer.public_key is not None for peer in found.peers)
    notify(
        Notice(
            False,
            f"took over an older installation: {len(found.peers)} peers, {added} of them with a key; a copy of it is in"
            f" {backup}",
        )
    )
    for line in found.damaged:
        notify(
            Notice(
                True,
                f"not taken over: {line}; `genconf` and `add` it again, or repair its files, move"
                f" {path.name} away and run this again",
            )
        )


def tighten_modes(settings: Settings) -> Iterator[Notice]:
    """Take away what others were allowed on files and folders with secrets, and say so."""
    base = settings.folder
    folders = [base / name for name in (REGISTRY_FOLDER, WIREGUARD_FOLDER, TREE_FOLDER)]
    files = [base / REGISTRY_FOLDER / f"{REGISTRY_FILE}{suffix}" for suffix in ("", "-wal", "-shm")]
    files.append(base / WIREGUARD_FOLDER / WG_CONF)
    for mode, paths in ((FOLDER_MODE, folders), (FILE_MODE, files)):
        for path in paths:
            with suppress(PermissionError):
                if path.is_dir() == (mode == FOLDER_MODE) and tighten(path, mode):
                    yield Notice(True, f"{path} was open to other users; its mode is {mode:04o} again")
