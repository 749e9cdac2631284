"""The registry's file: what it enforces, and what it keeps."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.registry.snapshot import mode_of
from tests.registry.stored import HUB, key, made, peer
from vpn.lib.errors import Busy, Refused, VpnError
from vpn.lib.registry import sqlite
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.registry.sqlite import SqliteRegistry
from vpn.lib.registry.store import LogEntry
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vpn.lib.registry.peer import Peer
    from vpn.lib.registry.store import Transaction

FIRST, LAST = IPv4Address("10.221.0.0"), IPv4Address("10.221.255.255")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the registry is."""
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path) -> Iterator[SqliteRegistry]:
    """A registry with node2 (no key) and node3 (key(3))."""
    with closing(made(path, peer(2), peer(3, public_key=key(3)))) as opened:
        yield opened


def change(transaction: Transaction, *peers: Peer) -> None:
    """Put all."""
    for changed in peers:
        transaction.put(changed)


def break_off(transaction: Transaction) -> None:
    """Change much, then end as Ctrl-C does."""
    transaction.put(peer(4))
    transaction.delete(peer(2).name, 2000.0)
    transaction.log(LogEntry(1.0, 0, "test", None, "nothing"))
    raise KeyboardInterrupt


def test_what_is_put_is_there_for_the_next_process(path: Path, registry: SqliteRegistry) -> None:
    with registry.transaction() as transaction:
        transaction.put(peer(4, public_key=key(4)))
    with closing(SqliteRegistry(path)) as other:
        assert list(other.peers()) == [peer(2), peer(3, public_key=key(3)), peer(4, public_key=key(4))]
        assert other.private_key() == HUB
        assert other.public_key() == HUB.public_key()
        assert other.peer(PeerName(PeerType.NODE, "NODE2")) is None


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"number": 4, "address": "10.221.0.3"}, "address"),
        ({"number": 4, "public_key": key(3)}, "public key"),
        ({"number": 2, "public_key": key(3)}, "public key"),
        ({"number": 2, "address": "10.221.0.3"}, "address"),
        ({"number": 4, "peer_id": "NODE2"}, "name"),
    ],
)
def test_the_database_itself_refuses_what_is_taken(
    registry: SqliteRegistry, changes: dict[str, object], taken: str
) -> None:
    before = list(registry.peers())
    with (
        pytest.raises(Refused, match=f"that {taken} belongs to another peer; `list` shows"),
        registry.transaction() as t,
    ):
        change(t, peer(9), peer(**changes))  # type: ignore[arg-type]
    assert list(registry.peers()) == before


def test_a_transaction_that_raises_leaves_nothing(path: Path, registry: SqliteRegistry) -> None:
    before = list(registry.peers())
    with pytest.raises(KeyboardInterrupt), registry.transaction() as transaction:
        break_off(transaction)
    assert list(registry.peers()) == before
    with registry.transaction() as transaction:
        assert transaction.highest(FIRST, LAST) == IPv4Address("10.221.0.3")
        assert list(transaction.released(FIRST, LAST)) == []
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM log").fetchone() == (0,)


def test_each_commit_is_synced_to_the_disk(registry: SqliteRegistry) -> None:
    # 2 is FULL: a commit returns after fsync.
    assert registry._database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert registry._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_log_can_only_grow(path: Path, registry: SqliteRegistry) -> None:
    for what in ("first", "second"):
        with registry.transaction() as transaction:
            transaction.log(LogEntry(1.5, 7, "genconf", peer(2).name, what))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in ("UPDATE log SET what = 'x'", "DELETE FROM log", "DELETE FROM log WHERE number = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)
        rows = database.execute("SELECT at, uid, command, type, id, what FROM log").fetchall()
    assert rows == [(1.5, 7, "genconf", "node", "node2", what) for what in ("first", "second")]


def test_the_end_of_the_log_is_read_backwards_and_by_command(registry: SqliteRegistry) -> None:
    assert registry.latest(3) == []
    for number in range(1, 8):
        with registry.transaction() as transaction:
            transaction.log(LogEntry(float(number), 0, "backup" if number in (2, 5) else "add", None, "something"))
    assert [record.number for record in registry.latest(3)] == [7, 6, 5]
    assert [record.number for record in registry.latest(3, before=5)] == [4, 3, 2]
    assert [record.number for record in registry.latest(9, before=2)] == [1]
    assert [record.number for record in registry.latest(1, command="backup")] == [5]
    assert [record.number for record in registry.latest(2, 5, "backup")] == [2]
    assert list(registry.records())[-3:] == registry.latest(3)[::-1]


def test_what_was_released_since_is_told(registry: SqliteRegistry) -> None:
    with registry.transaction() as transaction:
        transaction.delete(peer(2).name, 2000.0)
        transaction.delete(peer(3).name, 3000.0)
    assert registry.released(3000.0) == []
    assert registry.released(2999.0) == [peer(3).address]
    assert set(registry.released(0.0)) == {peer(2).address, peer(3).address}


def test_deleting_releases_and_putting_takes_again(registry: SqliteRegistry) -> None:
    with registry.transaction() as transaction:
        transaction.delete(peer(3).name, 2000.0)
        transaction.delete(peer(2).name, 2000.0)
        transaction.delete(peer(9).name, 2000.0)
        assert [str(free.address) for free in transaction.released(FIRST, LAST)] == ["10.221.0.3", "10.221.0.2"]
        assert transaction.highest(FIRST, LAST) == IPv4Address("10.221.0.3")
        assert transaction.was_used(IPv4Address("10.221.0.2"))
        transaction.put(peer(7, address="10.221.0.3"))
        assert [str(free.address) for free in transaction.released(FIRST, LAST)] == ["10.221.0.2"]
        assert list(transaction.released(IPv4Address("10.222.0.0"), IPv4Address("10.222.255.255"))) == []


def test_lookups_find_exactly_one(registry: SqliteRegistry) -> None:
    with registry.transaction() as transaction:
        assert transaction.similar(PeerName(PeerType.NODE, "NoDe2")) == peer(2)
        assert transaction.similar(PeerName(PeerType.RESEARCHER, "node2")) is None
        assert transaction.holder(key(3)) == peer(3, public_key=key(3))
        assert transaction.holder(key(4)) is None
        assert transaction.occupant(IPv4Address("10.221.0.2")) == peer(2)
        assert transaction.occupant(IPv4Address("10.221.0.9")) is None


def test_the_registry_lists_by_type(path: Path) -> None:
    researcher = peer(5)._replace(name=PeerName(PeerType.RESEARCHER, "a"))
    with closing(made(path, researcher, peer(2))) as registry:
        assert list(registry.peers()) == [peer(2), researcher]
        assert list(registry.peers(PeerType.RESEARCHER)) == [researcher]
        assert list(registry.peers(PeerType.MANAGEMENT)) == []


def test_endpoints_are_kept_for_registered_keys_only(registry: SqliteRegistry) -> None:
    seen = Endpoint(IPv4Address("192.0.2.7"), 1234)
    registry.save_endpoints({key(3): seen, key(99): seen})
    assert registry.endpoints() == {key(3): seen}
    moved = seen._replace(port=4321)
    registry.save_endpoints({key(3): moved})
    assert registry.endpoints() == {key(3): moved}
    with registry.transaction() as transaction:
        transaction.put(peer(3))
    assert registry.endpoints() == {}


@pytest.mark.parametrize("forget", [True, False])
def test_an_endpoint_goes_with_its_key(registry: SqliteRegistry, forget: bool) -> None:
    registry.save_endpoints({key(3): Endpoint(IPv4Address("192.0.2.7"), 1234)})
    with registry.transaction() as transaction:
        if forget:
            transaction.delete(peer(3).name, 2000.0)
        else:
            transaction.put(peer(3, public_key=key(5)))
    assert registry.endpoints() == {}


def test_the_version_changes_with_the_commits_of_others(path: Path, registry: SqliteRegistry) -> None:
    before = registry.version()
    assert registry.version() == before
    with closing(SqliteRegistry(path)) as other, other.transaction() as transaction:
        transaction.put(peer(4))
    assert registry.version() != before


def test_a_second_writer_waits_and_then_gives_up(
    path: Path, registry: SqliteRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCK_LIMIT", 0.01)
    with (
        closing(SqliteRegistry(path)) as other,
        registry.transaction(),
        pytest.raises(Busy, match="has been locked for 30 s; look for a hanging command"),
        other.transaction(),
    ):
        pass


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_the_file_is_its_owners_alone_from_the_beginning(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with closing(made(path, peer(2))) as registry, registry.transaction() as transaction:
            transaction.put(peer(3))
            modes = {file.name: oct(mode_of(file)) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("registry.db", "registry.db-wal", "registry.db-shm"), "0o600")


def test_a_registry_in_the_making_never_shows(path: Path) -> None:
    with pytest.raises(VpnError):
        sqlite.create(path, HUB, [peer(2), peer(2)._replace(name=peer(3).name)], (), None)
    assert not path.exists()
    with closing(made(path, peer(2))) as registry:
        assert list(registry.peers()) == [peer(2)]
    assert [file.name for file in path.parent.iterdir()] == ["registry.db"]
