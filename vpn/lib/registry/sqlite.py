"""The registry in an SQLite file: write-ahead log, synchronous=FULL, constraints in the schema."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any

from vpn.lib.errors import Busy, StateError
from vpn.lib.files import FILE_MODE
from vpn.lib.registry.audit import HASH_LENGTH, Chain, Record
from vpn.lib.registry.database import LOCK_LIMIT, SCHEMA, SCHEMA_VERSION, damaged, translated
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.registry.store import LogEntry
from vpn.lib.registry.transaction import (
    COLUMNS,
    INVITATION_COLUMNS,
    SqliteTransaction,
    invitation_of,
    peer_of,
    readable,
)
from vpn.lib.wireguard.keys import PrivateKey, PublicKey
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from vpn.lib.files import Owner
    from vpn.lib.registry.peer import Invitation, Peer


class Outdated(StateError):
    """The registry is of an older release: ``migration.migrate`` brings it up to date."""


def create(
    path: Path,
    private_key: PrivateKey,
    fill: Iterable[Peer],
    released: Iterable[IPv4Address],
    owner: Owner | None,
    *,
    now: float = 0.0,
    leaked: Iterable[PublicKey] = (),
) -> None:
    """Make a registry at ``path`` that holds ``fill``, whole or not at all.

    ``now`` is when the ``released`` addresses and the ``leaked`` keys are known to be so.
    """
    with in_place(path, owner) as database:
        database.execute("BEGIN")
        for statement in SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        genesis = os.urandom(HASH_LENGTH)
        keys = (bytes(private_key), bytes(private_key.public_key()))
        database.execute("INSERT INTO hub VALUES (1, ?, ?, ?, 0, ?, 0)", (*keys, genesis, genesis))
        transaction = SqliteTransaction(database)
        for key in leaked:
            transaction.mark_leaked(key, now)
        for peer in fill:
            transaction.put(peer)
        transaction.release(released, now)
        database.execute("COMMIT")


@contextmanager
def in_place(path: Path, owner: Owner | None) -> Iterator[sqlite3.Connection]:
    """A new database that becomes ``path`` when the block ends well: built under another name, synced and renamed.

    For a ``path`` that no process has open, or that does not exist: a file there is replaced.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    # A write-ahead log that belongs to a registry of the past must not be played into this one.
    for leftover in (temporary, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        with suppress(FileNotFoundError):
            leftover.unlink()
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE))
    temporary.chmod(FILE_MODE)  # whatever the umask
    if owner is not None:
        os.chown(temporary, owner.uid, owner.gid)
    with translated(temporary):
        database = sqlite3.connect(temporary, isolation_level=None)
        try:
            # A journal in a file could outlive this process, and would be played into the next temporary file.
            database.execute("PRAGMA journal_mode = MEMORY")
            yield database
        finally:
            database.close()
    os.rename(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OpenRegistry:
    """Registry over a database that is open; ``path`` names it in errors."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """A transaction that nobody else writes during."""
        with translated(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                transaction = SqliteTransaction(self._database)
                yield transaction
                transaction.finish()
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    def private_key(self) -> PrivateKey:
        """The hub's private key."""
        with translated(self._path):
            (raw,) = self._row("SELECT private_key FROM hub")
            with readable():
                return PrivateKey(raw)

    def public_key(self) -> PublicKey:
        """The hub's public key."""
        with translated(self._path):
            (raw,) = self._row("SELECT public_key FROM hub")
            with readable():
                return PublicKey(raw)

    def _row(self, query: str) -> Any:
        row = self._database.execute(query).fetchone()
        if row is None:
            raise damaged(self._path, "the hub's key is missing")
        return row

    def peer(self, name: PeerName) -> Peer | None:
        """The peer of exactly this name."""
        with translated(self._path):
            return SqliteTransaction(self._database).peer(name)

    def peers(self, peer_type: PeerType | None = None) -> Iterator[Peer]:
        """All peers, or those of a type, by type and id, as they are when the first one is asked for."""
        with translated(self._path):
            rows = self._database.execute(
                f"SELECT {COLUMNS} FROM peer WHERE ifnull(?1, type) = type ORDER BY type, id",
                (None if peer_type is None else peer_type.value,),
            )
            while some := rows.fetchmany(200):
                yield from map(peer_of, some)

    def at(self, address: IPv4Address) -> tuple[Peer | None, int]:
        """The peer at this address, and how many peers there are."""
        with translated(self._path):
            (count,) = self._row("SELECT count(*) FROM peer")
            return SqliteTransaction(self._database).occupant(address), int(count)

    def invitations(self) -> list[Invitation]:
        """All invitations, by type and id, also those that have expired."""
        with translated(self._path):
            rows = self._database.execute(f"SELECT {INVITATION_COLUMNS} FROM invitation ORDER BY type, id").fetchall()
            return [invitation_of(row) for row in rows]

    def invitation(self, name: PeerName) -> Invitation | None:
        """The peer's invitation, also one that has expired."""
        with translated(self._path):
            return SqliteTransaction(self._database).invitation(name)

    def deadline(self) -> float | None:
        """When the next peer or invitation expires (Unix time), None when none does."""
        with translated(self._path):
            (due,) = self._row(
                "SELECT min(due) FROM (SELECT min(until) AS due FROM peer"
                " WHERE until NOT NULL AND standing = 'enabled'"
                " UNION ALL SELECT min(expires) FROM invitation WHERE NOT expired)"
            )
        return None if due is None else float(due)

    def now(self, clock: float) -> float:
        """Registry time: ``clock``, but never earlier than the latest time in the log."""
        with translated(self._path):
            (latest,) = self._row("SELECT latest FROM hub")
        return max(clock, float(latest))

    def version(self) -> int:
        """A number that changes whenever another connection commits."""
        with translated(self._path):
            (number,) = self._database.execute("PRAGMA data_version").fetchone()
        return int(number)

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        """The last known endpoints."""
        with translated(self._path):
            rows = self._database.execute(
                "SELECT public_key, endpoint.address, port FROM endpoint JOIN peer USING (public_key)"
            ).fetchall()
            with readable():
                return {PublicKey(key): Endpoint(ip_address(address), port) for key, address, port in rows}

    def save_endpoints(self, endpoints: Mapping[PublicKey, Endpoint]) -> None:
        """Remember endpoints of registered keys, and forget those of others, in one transaction."""
        with self.transaction() as transaction:
            transaction.database.execute(
                "DELETE FROM endpoint WHERE public_key NOT IN (SELECT public_key FROM peer WHERE public_key NOT NULL)"
            )
            transaction.database.executemany(
                "INSERT OR REPLACE INTO endpoint SELECT public_key, ?, ? FROM peer WHERE public_key = ?",
                [(str(endpoint.address), endpoint.port, bytes(key)) for key, endpoint in endpoints.items()],
            )

    def leaked(self) -> list[PublicKey]:
        """All keys that were marked as leaked."""
        with translated(self._path), readable():
            rows = self._database.execute("SELECT public_key FROM leaked ORDER BY at, public_key").fetchall()
            return [PublicKey(key) for (key,) in rows]

    def chain(self) -> Chain:
        """Where the log's chain begins, and how it ends."""
        with translated(self._path):
            return Chain(*self._row("SELECT genesis, log_count, log_head FROM hub"))

    def records(self) -> Iterator[Record]:
        """The log, oldest first."""
        return self._records("ORDER BY number")

    def latest(self, count: int, before: int | None = None, command: str | None = None) -> list[Record]:
        """The last entries of the log, newest first: of those before a number, and of a command, where one is given."""
        chosen = "WHERE number < ifnull(?1, number + 1) AND command = ifnull(?2, command) ORDER BY number DESC LIMIT ?3"
        return list(self._records(chosen, before, command, count))

    def _records(self, chosen: str, *values: object) -> Iterator[Record]:
        with translated(self._path):
            for number, at, uid, login, command, peer_type, peer_id, what, digest in self._database.execute(
                f"SELECT number, at, uid, login, command, type, id, what, hash FROM log {chosen}", values
            ):
                with readable():
                    peer = None if peer_type is None else PeerName(PeerType(peer_type), peer_id)
                    entry = LogEntry(at, uid, command, peer, what, login)
                yield Record(number, entry, digest)

    def released(self, since: float) -> list[IPv4Address]:
        """The addresses that were released after a time."""
        with translated(self._path):
            rows = self._database.execute("SELECT address FROM released WHERE at > ?", (since,)).fetchall()
            with readable():
                return [IPv4Address(address) for (address,) in rows]

    def pending(self) -> dict[str, bytes | None]:
        """What a restore has still to write: contents by name, None for what has to go."""
        with translated(self._path):
            return dict(self._database.execute("SELECT name, content FROM pending").fetchall())

    def settle(self, name: str) -> None:
        """It is written; nothing is pending of this name."""
        with translated(self._path):
            self._database.execute("DELETE FROM pending WHERE name = ?", (name,))

    def check(self) -> None:
        """Read everything and raise StateError when it is damaged."""
        with translated(self._path):
            (answer,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise damaged(self._path, answer)

    def copy_to(self, target: sqlite3.Connection, progress: Callable[[int, int, int], None] | None = None) -> None:
        """Make another database the same, in one transaction."""
        self._database.backup(target, progress=progress, sleep=0.01)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


class SqliteRegistry(OpenRegistry):
    """Registry over the file at ``path``, which must exist. Raises StateError when it is damaged."""

    def __init__(self, path: Path, *, owner: Owner | None = None) -> None:
        self._owner = owner
        if path.is_symlink():
            raise StateError(f"{path} is a symbolic link; put the file itself there")
        if not path.exists():
            raise StateError(f"{path} is not there: {os.strerror(errno.ENOENT)}")
        if not path.is_file():
            raise StateError(f"{path} is not a regular file; move it away, or put back a copy of the registry")
        with translated(path):
            # SQLite takes an empty file for an empty database; a registry is never empty.
            status = path.stat()
            if status.st_size == 0:
                raise damaged(path, "it is empty")
            self._identity = (status.st_dev, status.st_ino)
            super().__init__(path, sqlite3.connect(path, isolation_level=None, timeout=LOCK_LIMIT))
            try:
                self._open()
            except BaseException:
                self._database.close()
                raise

    def _open(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StateError(f"{self._path} was written by a newer release; install that release, or a later one")
        if version < 1:
            raise damaged(self._path, "it is no registry")
        if version < SCHEMA_VERSION:
            raise Outdated(f"{self._path} is of an older release; `configure_peer.py list` brings it up to date")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        if self._owner is not None:
            for suffix in ("-wal", "-shm"):
                side = self._path.with_name(self._path.name + suffix)
                with suppress(FileNotFoundError):
                    if side.stat().st_uid != self._owner.uid:
                        os.chown(side, self._owner.uid, self._owner.gid)

    def replaced(self) -> bool:
        """Whether another file stands in the place of the one that is open, or none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def take(self, image: OpenRegistry) -> None:
        """Become what the image holds, in one transaction: other processes that have this open see it as a change.

        Raises Busy when another process does not let go of it.
        """
        deadline = time.monotonic() + LOCK_LIMIT

        def give_up(status: int, *_: int) -> None:
            if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > deadline:
                raise Busy(
                    f"{self._path} has been locked for {LOCK_LIMIT:.0f} s; look for a hanging command, try again"
                )

        with translated(self._path):
            image.copy_to(self._database, give_up)
