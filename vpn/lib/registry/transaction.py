"""Reads and changes of the registry within one SQLite transaction."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from vpn.lib.registry import audit
from vpn.lib.registry.peer import Invitation, Peer, PeerName, PeerType, Standing
from vpn.lib.registry.store import Released
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vpn.lib.registry.store import LogEntry

COLUMNS = "type, id, address, preshared_key, public_key, created, changed, standing, until, rotation, version"
INVITATION_COLUMNS = "type, id, private_key, public_key, preshared_key, address, created, expires, expired"

_STANDINGS = {standing.value: standing for standing in Standing}


class SqliteTransaction:
    """Transaction on an open database."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self._end: tuple[int, bytes, float] | None = None
        self._logged = False

    def finish(self) -> None:
        """Note how the log ends now; the last thing before a commit."""
        if self._logged:
            self.database.execute("UPDATE hub SET log_count = ?, log_head = ?, latest = ?", self._log_end())

    def image(self) -> bytes:
        """The registry as it is in this transaction, as the bytes of a file that ``image.Image`` reads."""
        self.finish()
        raw = bytearray(self.database.serialize())
        # Not in write-ahead mode, which a database in memory cannot have (sqlite.org/fileformat2.html, offset 18).
        raw[18:20] = b"\x01\x01"
        return bytes(raw)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Changes that are taken back by themselves when the block raises; the others stay."""
        before = (self._end, self._logged)
        self.database.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK TO attempt")
            self.database.execute("RELEASE attempt")
            self._end, self._logged = before
            raise
        self.database.execute("RELEASE attempt")

    def _log_end(self) -> tuple[int, bytes, float]:
        """How many entries the log has, the last one's hash, and the latest time."""
        if self._end is None:
            row = self.database.execute("SELECT log_count, log_head, latest FROM hub").fetchone()
            if row is None:
                raise sqlite3.DatabaseError("the hub's key is missing")
            self._end = row
        return self._end

    def now(self, clock: float) -> float:
        """Registry time: ``clock``, but never earlier than the latest time in the log."""
        return max(clock, self._log_end()[2])

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

    def released(self, first: IPv4Address, last: IPv4Address) -> Iterator[Released]:
        """The released addresses from first to last, the one that was released first at the front."""
        rows = self.database.execute(
            "SELECT address, at FROM released WHERE address BETWEEN ? AND ? ORDER BY turn", (int(first), int(last))
        )
        return (Released(IPv4Address(address), at) for address, at in rows)

    def former_key(self, name: PeerName) -> PublicKey | None:
        """The key that was taken away from this name last."""
        row = self.database.execute(
            "SELECT public_key FROM former WHERE type = ? AND id = ?", (name.type.value, name.id)
        ).fetchone()
        with readable():
            return None if row is None else PublicKey(row[0])

    def leaked_at(self, public_key: PublicKey) -> float | None:
        """When the key was marked as leaked, None when it was not."""
        row = self.database.execute("SELECT at FROM leaked WHERE public_key = ?", (bytes(public_key),)).fetchone()
        return None if row is None else float(row[0])

    def mark_leaked(self, public_key: PublicKey, at: float) -> None:
        """Refuse this key for ever: the database lets no peer have it."""
        self.database.execute("INSERT OR IGNORE INTO leaked VALUES (?, ?)", (bytes(public_key), at))

    def put(self, peer: Peer) -> None:
        """Register the peer, or replace what is registered under its name."""
        name, address = peer.name, int(peer.address)
        self.database.execute(
            f"INSERT INTO peer ({COLUMNS}, folded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (type, id) DO UPDATE SET address = excluded.address, preshared_key = excluded.preshared_key,"
            " public_key = excluded.public_key, changed = excluded.changed, standing = excluded.standing,"
            " until = excluded.until, rotation = excluded.rotation, version = excluded.version",
            (
                name.type.value,
                name.id,
                address,
                bytes(peer.preshared_key),
                None if peer.public_key is None else bytes(peer.public_key),
                peer.created,
                peer.changed,
                peer.standing.value,
                peer.until,
                peer.rotation,
                peer.version,
                name.id.lower(),
            ),
        )
        self.database.execute("DELETE FROM released WHERE address = ?", (address,))

    def take_key(self, peer: Peer, at: float) -> None:
        """Register the peer without its key, and remember that as its former one."""
        self._remember_key(peer)
        self.put(peer._replace(public_key=None, rotation=None, changed=at))

    def delete(self, name: PeerName, at: float) -> None:
        """Forget the peer, and remember its address as released, and its key as its former one."""
        peer = self.peer(name)
        if peer is None:
            return
        self._remember_key(peer)
        self.database.execute("DELETE FROM peer WHERE type = ? AND id = ?", (name.type.value, name.id))
        self.withdraw(name)
        self._release(peer.address, at)

    def rename(self, name: PeerName, new_id: str) -> None:
        """Give the peer another id: all that belongs to it stays."""
        values = (name.type.value, name.id, new_id)
        self.database.execute(
            "UPDATE peer SET id = ?3, folded = ?4 WHERE type = ?1 AND id = ?2", (*values, new_id.lower())
        )
        self.database.execute("UPDATE invitation SET id = ?3 WHERE type = ?1 AND id = ?2", values)
        # What somebody of the new id had before is not this one's.
        self.database.execute("UPDATE OR REPLACE former SET id = ?3 WHERE type = ?1 AND id = ?2", values)

    def due(self, now: float) -> list[Peer]:
        """The enabled peers whose time is over."""
        rows = self.database.execute(
            f"SELECT {COLUMNS} FROM peer WHERE until NOT NULL AND until <= ? AND standing = 'enabled'", (now,)
        ).fetchall()
        return [peer_of(row) for row in rows]

    def invitation(self, name: PeerName) -> Invitation | None:
        """The peer's invitation, also one that has expired."""
        return self._one_invitation("type = ? AND id = ?", name.type.value, name.id)

    def invited_at(self, address: IPv4Address) -> Invitation | None:
        """The invitation with this temporary address."""
        return self._one_invitation("address = ?", int(address))

    def invites(self, public_key: PublicKey) -> Invitation | None:
        """The invitation with this temporary key."""
        return self._one_invitation("public_key = ?", bytes(public_key))

    def invite(self, invitation: Invitation) -> None:
        """Keep the invitation, in the place of the peer's former one."""
        name = invitation.name
        self.database.execute(
            f"INSERT OR REPLACE INTO invitation ({INVITATION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name.type.value,
                name.id,
                bytes(invitation.private_key),
                bytes(invitation.public_key),
                bytes(invitation.preshared_key),
                int(invitation.address),
                invitation.created,
                invitation.expires,
                int(invitation.expired),
            ),
        )

    def withdraw(self, name: PeerName) -> bool:
        """Forget the peer's invitation; whether there was one."""
        done = self.database.execute("DELETE FROM invitation WHERE type = ? AND id = ?", (name.type.value, name.id))
        return done.rowcount > 0

    def due_invitations(self, now: float) -> list[Invitation]:
        """The invitations whose time is over and that have not expired yet."""
        rows = self.database.execute(
            f"SELECT {INVITATION_COLUMNS} FROM invitation WHERE NOT expired AND expires <= ?", (now,)
        ).fetchall()
        return [invitation_of(row) for row in rows]

    def highest_invited(self, first: IPv4Address, last: IPv4Address) -> IPv4Address | None:
        """The highest temporary address from first to last that is in use."""
        (number,) = self.database.execute(
            "SELECT max(address) FROM invitation WHERE address BETWEEN ? AND ?", (int(first), int(last))
        ).fetchone()
        return None if number is None else IPv4Address(number)

    def invited_addresses(self) -> set[IPv4Address]:
        """All temporary addresses in use."""
        return {IPv4Address(number) for (number,) in self.database.execute("SELECT address FROM invitation")}

    def _one_invitation(self, condition: str, *values: object) -> Invitation | None:
        row = self.database.execute(f"SELECT {INVITATION_COLUMNS} FROM invitation WHERE {condition}", values).fetchone()
        return None if row is None else invitation_of(row)

    def _remember_key(self, peer: Peer) -> None:
        if peer.public_key is not None:
            self.database.execute(
                "INSERT OR REPLACE INTO former VALUES (?, ?, ?)",
                (peer.name.type.value, peer.name.id, bytes(peer.public_key)),
            )

    def release(self, addresses: Iterable[IPv4Address], at: float) -> None:
        """Remember addresses as used once, and free, in this order."""
        for address in addresses:
            self._release(address, at)

    def _release(self, address: IPv4Address, at: float) -> None:
        self.database.execute(
            "INSERT OR IGNORE INTO released VALUES (?, 1 + ifnull((SELECT max(turn) FROM released), 0), ?)",
            (int(address), at),
        )

    def log(self, entry: LogEntry) -> None:
        """Append to the log, and to its chain."""
        count, head, latest = self._log_end()
        peer_type, peer_id = (None, None) if entry.peer is None else (entry.peer.type.value, entry.peer.id)
        head = audit.link(head, count + 1, entry)
        self.database.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (count + 1, entry.at, entry.uid, entry.login, entry.command, peer_type, peer_id, entry.what, head),
        )
        self._end, self._logged = (count + 1, head, max(latest, entry.at)), True

    def _one(self, condition: str, *values: object) -> Peer | None:
        row = self.database.execute(f"SELECT {COLUMNS} FROM peer WHERE {condition}", values).fetchone()
        return None if row is None else peer_of(row)


def peer_of(row: Any) -> Peer:
    """The peer of a row of ``COLUMNS``."""
    peer_type, peer_id, address, preshared_key, public_key, created, changed, standing, until, rotation, version = row
    with readable():
        return Peer(
            PeerName(PeerType(peer_type), peer_id),
            IPv4Address(address),
            PresharedKey(preshared_key),
            None if public_key is None else PublicKey(public_key),
            created,
            changed,
            _STANDINGS[standing],
            until,
            rotation,
            version,
        )


def invitation_of(row: Any) -> Invitation:
    """The invitation of a row of ``INVITATION_COLUMNS``."""
    peer_type, peer_id, private_key, public_key, preshared_key, address, created, expires, expired = row
    with readable():
        return Invitation(
            PeerName(PeerType(peer_type), peer_id),
            PrivateKey(private_key),
            PublicKey(public_key),
            PresharedKey(preshared_key),
            IPv4Address(address),
            created,
            expires,
            bool(expired),
        )


@contextmanager
def readable() -> Iterator[None]:
    """Values that no schema lets in are damage, whatever they make Python raise."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise sqlite3.DatabaseError("a row cannot be read") from error
