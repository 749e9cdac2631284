"""``restore``: a hub as a backup has it. Everything is checked before anything is changed.

The registry changes in one transaction, which holds what has to be written after it as well: the settings, the policy
and the ``config_peers`` tree. Whoever opens the registry next writes what a killed restore did not.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env, files
from vpn.lib.errors import InvalidInput, Refused, StateError, describe_os_error
from vpn.lib.hub import backup_file, leaked, peer_config, projections, settings as hub_settings, state
from vpn.lib.hub.backup_file import CONFIG, POLICY, REGISTRY
from vpn.lib.registry import sqlite, takeover
from vpn.lib.registry.image import Image
from vpn.lib.registry.store import LogEntry
from vpn.lib.registry.tree import FOLDER as TREE, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from vpn.lib.hub.backup_file import Contents
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import PeerName
    from vpn.lib.registry.store import Registry, Transaction
    from vpn.lib.wireguard.keys import PublicKey

LIMIT = 1 << 30
"""Bytes of a backup: ten times one of 65,000 peers."""


class Restored(NamedTuple):
    """What is true now: when the backup was made, where the former state is kept, and who is in that was out before."""

    made: float
    peers: int
    kept: Path | None
    back: tuple[PeerName, ...]
    notes: tuple[str, ...]


class By(NamedTuple):
    """Who restores, for the audit log: the login, and the clock (Unix time)."""

    login: int | None = None
    clock: Callable[[], float] = time.time


def restore(
    path: Path, environ: Mapping[str, str], ask: Callable[[], bytes], by: By, *, broken_audit: bool = False
) -> Restored:
    """Make the hub of ``environ`` what the backup at ``path`` holds; ``ask`` gives the passphrase if one is needed.

    Keys that leaked since stay refused. What was there is kept in ``backup-DATE``. With ``broken_audit``, a backup
    whose audit log is broken is taken all the same. Raises InvalidInput or Refused with nothing changed.
    """
    folder = files.state_folder(environ)
    contents = backup_file.unpack(_read(path), str(path), ask)
    settings = _settings(folder, contents, environ, path)
    with closing(Image(contents.files[REGISTRY], path, by.clock())) as image:
        found = image.find_break()
        if found is not None and not broken_audit:
            raise Refused(
                f"the audit log in {path} is broken at entry {found.number}: {found.reason}; use another backup, or add"
                " --broken-audit to take it all the same"
            )
        state.make_folders(settings)
        with state.command_lock(settings), ExitStack() as stack:
            current = _current(settings, stack)
            before = {} if current is None else {peer.name: peer.public_key for peer in current.peers()}
            _prepare(image, current, settings, contents, by)
            image.set_pending({CONFIG: contents.files.get(CONFIG), POLICY: contents.files.get(POLICY), TREE: None})
            kept = _keep(settings, current, by.clock())
            if current is None:
                image.write(state.registry_path(settings), settings.owner)
                current = sqlite.SqliteRegistry(state.registry_path(settings), owner=settings.owner)
                stack.callback(current.close)
            else:
                current.take(image)
            write_pending(settings, current)
            notes = project(settings, current)
            peers = list(current.peers())
        back = [peer.name for peer in peers if peer.public_key not in (None, before.get(peer.name))]
        return Restored(contents.made, len(peers), kept, tuple(back), tuple(notes))


def write_pending(settings: Settings, registry: Registry) -> bool:
    """Write the settings and the policy that a restore brings; true when the settings are others than before.

    Raises StateError. May be done any number of times.
    """
    pending = registry.pending()
    changed = False
    for name in (POLICY, CONFIG):
        if name not in pending:
            continue
        path, content = settings.folder / name, pending[name]
        # A backup without settings is of a hub that has them in its environment: what is here stays.
        if content is not None and not _holds(path, content):
            files.write(path, content, owner=settings.owner)
            changed = changed or name == CONFIG
        elif content is None and name == POLICY:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise _failed("remove", path, error) from error
        registry.settle(name)
    return changed


def project(settings: Settings, registry: Registry) -> list[str]:
    """Write what is made from the registry; what could not be, in words. Raises StateError."""
    notes = [
        f"{peer.name}: {misplaced}; `removeconf` and `genconf` it, or change the settings"
        for peer in registry.peers()
        if (misplaced := settings.plan.misplaced(peer.name, peer.address)) is not None
    ]
    leaked.write(settings, registry)
    for _ in projections.write_wg_conf(settings, registry):
        pass
    tree = Tree(settings.folder, settings.owner)
    hub = registry.public_key()
    try:
        texts = [(peer.name, peer_config.text(peer, settings, hub)) for peer in registry.peers()]
    except InvalidInput as error:
        notes.append(f"the config.env of the components are not written: {error}")
    else:
        tree.write_all(texts)
        for stranger in tree.names() - {name for name, _ in texts}:
            try:
                tree.delete(stranger)
            except StateError as error:
                notes.append(str(error))  # a file or a link in the place of a folder, which is not ours
    registry.settle(TREE)
    return notes


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InvalidInput(f"{path} is not there, or is no file; give the file that `configure_peer.py backup` wrote")
    if path.stat().st_size > LIMIT:
        raise InvalidInput(f"{path} is larger than {LIMIT >> 30} GiB; that is no backup of a hub")
    return path.read_bytes()


def _settings(folder: Path, contents: Contents, environ: Mapping[str, str], path: Path) -> Settings:
    """The settings as they will be."""
    if CONFIG not in contents.files:
        return hub_settings.load(environ)
    try:
        given = config_env.parse(contents.files[CONFIG].decode(), CONFIG)
        return hub_settings.of(folder, given, environ)
    except ValueError as error:
        raise InvalidInput(f"the settings in {path} are damaged: {error}") from error


def _current(settings: Settings, stack: ExitStack) -> sqlite.SqliteRegistry | None:
    """The registry that is there, open; None when it has to be replaced as a file, which no hub may have open."""
    try:
        current = sqlite.SqliteRegistry(state.registry_path(settings), owner=settings.owner)
        stack.callback(current.close)
        current.check()
        current.pending()
        return current
    except StateError as error:
        path = state.registry_path(settings)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise
        lock = state.daemon_lock(settings)
        if not lock.acquire():
            raise Refused("the hub runs on a registry that cannot be read; stop it, then run this again") from error
        stack.callback(lock.release)
        return None


def _prepare(image: Image, current: Registry | None, settings: Settings, contents: Contents, by: By) -> None:
    """What of the present has to live on: leaked keys, registry time, and where the log before this ended."""
    marked = {*takeover.read_leaked(settings.folder), *(() if current is None else current.leaked())}
    now, ended = by.clock(), ""
    if current is not None:
        chain = current.chain()
        with current.transaction() as transaction:
            now = transaction.now(now)
        ended = f"; the log before it had {chain.entries} entries, the last one with the hash {chain.head.hex()}"
    with image.transaction() as transaction:
        now = transaction.now(now)

        def log(name: PeerName | None, what: str) -> None:
            transaction.log(LogEntry(now, os.getuid(), "restore", name, what, by.login))

        made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(contents.made))
        log(None, f"restore of the backup of {made}{ended}")
        for invitation in image.invitations():
            # It may have been used since: once is once.
            if not invitation.expired:
                transaction.invite(invitation._replace(expired=True))
                log(invitation.name, "invitation expired")
        for key in sorted(marked, key=bytes):
            if transaction.leaked_at(key) is None:
                _take_leaked(transaction, key, now, log)


def _take_leaked(transaction: Transaction, key: PublicKey, now: float, log: Callable[..., None]) -> None:
    holder = transaction.holder(key)
    if holder is not None:
        transaction.take_key(holder, now)
        log(holder.name, f"remove {key}")
    transaction.mark_leaked(key, now)
    log(None if holder is None else holder.name, f"leaked {key}")


def _keep(settings: Settings, current: sqlite.SqliteRegistry | None, now: float) -> Path | None:
    """Keep what is there, durably; None where there is nothing."""
    if current is None and not state.exists(settings):
        return None
    with ExitStack() as stack:
        if current is not None:
            # Nobody writes while its files are copied, so that they fit together.
            stack.enter_context(current.transaction())
        try:
            kept = takeover.back_up(settings.folder, settings.owner, now, (CONFIG, POLICY))
            files.sync_file_system(settings.folder)
        except OSError as error:
            raise _failed("keep a copy in", settings.folder, error) from error
    return kept


def _holds(path: Path, content: bytes) -> bool:
    try:
        return files.read_text(path).encode() == content
    except (FileNotFoundError, InvalidInput):
        return False


def _failed(verb: str, path: Path, error: OSError) -> StateError:
    return StateError(f"cannot {verb} {path}: {describe_os_error(OSError(error.errno, error.strerror))}")
