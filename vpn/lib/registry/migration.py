"""Bringing a registry of an older release up to date: a copy is kept first, and the change is one transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from vpn.lib.errors import Busy, StateError, VpnError, describe_os_error
from vpn.lib.files import FILE_MODE
from vpn.lib.registry.audit import HASH_LENGTH
from vpn.lib.registry.database import CHANGED_IN_2, CHANGED_IN_3, LOCK_LIMIT, SCHEMA_VERSION, damaged, translated
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.registry.store import LogEntry
from vpn.lib.registry.transaction import SqliteTransaction, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vpn.lib.files import Owner


def migrate(path: Path, owner: Owner | None, now: float) -> Path | None:
    """Bring the registry at ``path`` to this release's schema; returns the copy, None where nothing was to do.

    Call it with the command lock held. Raises StateError when it fails: the registry is as it was before.
    """
    with translated(path), closing(sqlite3.connect(path, isolation_level=None, timeout=LOCK_LIMIT)) as database:
        before = version_of(database)
        if before >= SCHEMA_VERSION:
            return None
        if before < 1:
            raise damaged(path, "it is no registry")
        with _failing(path, before):
            copy = keep(database, path, before, owner, now)
            try:
                database.execute("PRAGMA synchronous = FULL")
                with translated(path):
                    upgrade(database, now)
            except BaseException:
                # What it is a copy of is still there; one for each failed try would fill the disk.
                with suppress(OSError):
                    copy.unlink()
                raise
        return copy


def version_of(database: sqlite3.Connection) -> int:
    """The version of its schema; 0 for what is no registry."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def upgrade(database: sqlite3.Connection, now: float) -> None:
    """All steps from the version that it has to this release's, in one transaction. Raises sqlite3.Error."""
    database.execute("BEGIN IMMEDIATE")
    try:
        for version in range(version_of(database), SCHEMA_VERSION):
            STEPS[version](database, now)
            database.execute(f"PRAGMA user_version = {version + 1}")
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def keep(database: sqlite3.Connection, path: Path, version: int, owner: Owner | None, now: float) -> Path:
    """A copy of the open registry beside it, durable. Raises OSError or sqlite3.Error."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    target = path.with_name(f"registry-v{version}-{stamp}.db")
    number = 1
    while target.exists():
        target = path.with_name(f"registry-v{version}-{stamp}-{number}.db")
        number += 1
    temporary = path.with_name(f".registry-v{version}.tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)  # whatever the umask
        if owner is not None:
            os.fchown(descriptor, owner.uid, owner.gid)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
            # A journal in a file could outlive this process, and would be played into the next copy.
            copy.execute("PRAGMA journal_mode = MEMORY")
            database.backup(copy)
        os.fsync(descriptor)
        os.rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return target


@contextmanager
def _failing(path: Path, version: int) -> Iterator[None]:
    try:
        yield
    except Busy:
        raise
    except (OSError, VpnError, sqlite3.Error) as error:
        unnamed = OSError(error.errno, error.strerror) if isinstance(error, OSError) else None
        reason = str(error) if unnamed is None else describe_os_error(unnamed)
        raise StateError(
            f"{path} could not be brought from schema {version} to {SCHEMA_VERSION} and is as it was: {reason}"
        ) from error


def _from_1(database: sqlite3.Connection, now: float) -> None:
    """Version 2: the log is a chain; released addresses have a time; leaked keys."""
    for trigger in ("log_is_append_only_update", "log_is_append_only_delete"):
        database.execute(f"DROP TRIGGER {trigger}")
    database.execute("DROP INDEX released_turn")
    for table in ("hub", "released", "log"):
        database.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
    for statement in CHANGED_IN_2:
        database.execute(statement)
    genesis = os.urandom(HASH_LENGTH)
    database.execute("INSERT INTO hub SELECT only, private_key, public_key, ?1, 0, ?1, 0 FROM hub_1", (genesis,))
    # Since when they are free is not known, so as if it were since now.
    database.execute("INSERT INTO released SELECT address, turn, ? FROM released_1", (now,))
    transaction = SqliteTransaction(database)
    number = 0
    for at, uid, command, peer_type, peer_id, what in database.execute(
        "SELECT at, uid, command, type, id, what FROM log_1 ORDER BY number"
    ).fetchall():
        number += 1
        with readable():
            peer = None if peer_type is None else PeerName(PeerType(peer_type), peer_id)
        transaction.log(LogEntry(at, uid, command, peer, what))
    what = f"schema 1 to 2; {number} older entries chained"
    transaction.log(LogEntry(transaction.now(now), os.getuid(), "migration", None, what))
    transaction.finish()
    for table in ("hub", "released", "log"):
        database.execute(f"DROP TABLE {table}_1")


def _from_2(database: sqlite3.Connection, now: float) -> None:
    """Version 3: peers can be disabled and expire, and are asked for new keys; invitations."""
    database.execute("ALTER TABLE peer RENAME TO peer_2")
    for trigger in ("leaked_is_refused_insert", "leaked_is_refused_update"):
        database.execute(f"DROP TRIGGER {trigger}")
    for statement in CHANGED_IN_3:
        database.execute(statement)
    columns = "type, id, folded, address, preshared_key, public_key, created, changed"
    database.execute(f"INSERT INTO peer ({columns}, standing) SELECT {columns}, 'enabled' FROM peer_2")
    database.execute("DROP TABLE peer_2")
    transaction = SqliteTransaction(database)
    transaction.log(LogEntry(transaction.now(now), os.getuid(), "migration", None, "schema 2 to 3"))
    transaction.finish()


STEPS: Final[dict[int, Callable[[sqlite3.Connection, float], None]]] = {1: _from_1, 2: _from_2}
"""What brings a registry from each version to the next."""
