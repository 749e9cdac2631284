"""The registry in an SQLite file: write-ahead log, synchronous=FULL, constraints in the schema."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any

from vpn.lib.errors import StateError
from vpn.lib.files import FILE_MODE
from vpn.lib.registry.database import LOCK_LIMIT, SCHEMA, SCHEMA_VERSION, damaged, translated
from vpn.lib.registry.peer import Peer, PeerName, PeerType
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from vpn.lib.files import Owner
    from vpn.lib.registry.store import LogEntry

_COLUMNS = "type, id, address, preshared_key, public_key, created, changed"


def create(
    path: Path, private_key: PrivateKey, fill: Iterable[Peer], released: Iterable[IPv4Address], owner: Owner | None
) -> None:
    """Make a registry at ``path`` that holds ``fill``, whole or not at all.

    It is built under another name and renamed, so a registry at ``path`` is always complete.
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
            database.execute("PRAGMA journal_mode = MEMORY")
            database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};")
            database.execute("INSERT INTO hub VALUES (1, ?, ?)", (bytes(private_key), bytes(private_key.public_key())))
            transaction = SqliteTransaction(database)
            for peer in fill:
                transaction.put(peer)
            transaction.release(released)
            database.execute("COMMIT")
        finally:
            database.close()
    os.rename(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SqliteRegistry:
    """Registry over the file at ``path``, which must exist. Raises StateError when it is damaged."""

    def __init__(self, path: Path, *, owner: Owner | None = None) -> None:
        self._path = path
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
            self._database = sqlite3.connect(path, isolation_level=None, timeout=LOCK_LIMIT)
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
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        if self._owner is not None:
            for suffix in ("-wal", "-shm"):
                side = self._path.with_name(self._path.name + suffix)
                with suppress(FileNotFoundError):
                    if side.stat().st_uid != self._owner.uid:
                        os.chown(side, self._owner.uid, self._owner.gid)

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """A transaction that nobody else writes during."""
        with translated(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteTransaction(self._database)
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    def private_key(self) -> PrivateKey:
        """The hub's private key."""
        with translated(self._path):
            (raw,) = self._row("SELECT private_key FROM hub")
            with _readable():
                return PrivateKey(raw)

    def public_key(self) -> PublicKey:
        """The hub's public key."""
        with translated(self._path):
            (raw,) = self._row("SELECT public_key FROM hub")
            with _readable():
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
                f"SELECT {_COLUMNS} FROM peer WHERE ifnull(?1, type) = type ORDER BY type, id",
                (None if peer_type is None else peer_type.value,),
            )
            while some := rows.fetchmany(200):
                yield from map(_peer, some)

    def version(self) -> int:
        """A number that changes whenever another connection commits."""
        with translated(self._path):
            (number,) = self._database.execute("PRAGMA data_version").fetchone()
        return int(number)

    def replaced(self) -> bool:
        """Whether another file stands in the place of the one that is open, or none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        """The last known endpoints."""
        with translated(self._path):
            rows = self._database.execute(
                "SELECT public_key, endpoint.address, port FROM endpoint JOIN peer USING (public_key)"
            ).fetchall()
            with _readable():
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

    def check(self) -> None:
        """Read everything and raise StateError when it is damaged."""
        with translated(self._path):
            (answer,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise damaged(self._path, answer)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


class SqliteTransaction:
    """Transaction on an open database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def peer(self, name: PeerName) -> Peer | None:
        """The peer of exactly this name."""
        return self._one("type = ? AND id = ?", name.type.value, name.id)

    def similar(self, name: PeerName) -> Peer | None:
        """The peer of this type whose id is the same, whatever its case."""
        return self._one("type = ? AND folded = ?", name.type.value, name.id.lower())

    def holder(self, public_key: PublicKey) -> Peer | None:
        """The peer that has this key."""
        return self._one("public_key = ?", bytes(public_key))

    def occupant(self, address: IPv4Address) -> Peer | None:
        """The peer that has this address."""
        return self._one("address = ?", int(address))

    def highest(self, first: IPv4Address, last: IPv4Address) -> IPv4Address | None:
        """The highest address from first to last that was ever used."""
        bounds = (int(first), int(last))
        # Each half is a single step in an index; a max over a union would read the whole range.
        row = self.database.execute(
            "SELECT max("
            "ifnull((SELECT max(address) FROM peer WHERE address BETWEEN ?1 AND ?2), -1),"
            "ifnull((SELECT max(address) FROM released WHERE address BETWEEN ?1 AND ?2), -1))",
            bounds,
        ).fetchone()
        return None if row[0] < 0 else IPv4Address(row[0])

    def was_used(self, address: IPv4Address) -> bool:
        """Whether a peer has the address, or had it."""
        number = int(address)
        query = (
            "SELECT EXISTS (SELECT 1 FROM peer WHERE address = ?1)"
            " OR EXISTS (SELECT 1 FROM released WHERE address = ?1)"
        )
        return bool(self.database.execute(query, (number,)).fetchone()[0])

    def released(self, first: IPv4Address, last: IPv4Address) -> Iterator[IPv4Address]:
        """The released addresses from first to last, the one that was released first at the front."""
        rows = self.database.execute(
            "SELECT address FROM released WHERE address BETWEEN ? AND ? ORDER BY turn", (int(first), int(last))
        )
        return (IPv4Address(address) for (address,) in rows)

    def put(self, peer: Peer) -> None:
        """Register the peer, or replace what is registered under its name."""
        name, address = peer.name, int(peer.address)
        self.database.execute(
            f"INSERT INTO peer ({_COLUMNS}, folded) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (type, id) DO UPDATE SET address = excluded.address, preshared_key = excluded.preshared_key,"
            " public_key = excluded.public_key, changed = excluded.changed",
            (
                name.type.value,
                name.id,
                address,
                bytes(peer.preshared_key),
                None if peer.public_key is None else bytes(peer.public_key),
                peer.created,
                peer.changed,
                name.id.lower(),
            ),
        )
        self.database.execute("DELETE FROM released WHERE address = ?", (address,))

    def delete(self, name: PeerName) -> None:
        """Forget the peer, and remember its address as released."""
        peer = self.peer(name)
        if peer is None:
            return
        self.database.execute("DELETE FROM peer WHERE type = ? AND id = ?", (name.type.value, name.id))
        self.release([peer.address])

    def release(self, addresses: Iterable[IPv4Address]) -> None:
        """Remember addresses as used once, and free, in this order."""
        self.database.executemany(
            "INSERT OR IGNORE INTO released VALUES (?, 1 + ifnull((SELECT max(turn) FROM released), 0))",
            ((int(address),) for address in addresses),
        )

    def log(self, entry: LogEntry) -> None:
        """Append to the log."""
        peer_type, peer_id = (None, None) if entry.peer is None else (entry.peer.type.value, entry.peer.id)
        self.database.execute(
            "INSERT INTO log (at, uid, command, type, id, what) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.at, entry.uid, entry.command, peer_type, peer_id, entry.what),
        )

    def _one(self, condition: str, *values: object) -> Peer | None:
        row = self.database.execute(f"SELECT {_COLUMNS} FROM peer WHERE {condition}", values).fetchone()
        return None if row is None else _peer(row)


def _peer(row: Any) -> Peer:
    peer_type, peer_id, address, preshared_key, public_key, created, changed = row
    with _readable():
        return Peer(
            PeerName(PeerType(peer_type), peer_id),
            IPv4Address(address),
            PresharedKey(preshared_key),
            None if public_key is None else PublicKey(public_key),
            created,
            changed,
        )


@contextmanager
def _readable() -> Iterator[None]:
    """Values that no schema lets in are damage, whatever they make Python raise."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError("a row cannot be read") from error
