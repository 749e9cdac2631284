"""A registry of an older release, brought up to date."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.registry import schema1
from tests.registry.snapshot import difference, mode_of, snapshot
from tests.registry.stored import HUB, key, made, peer
from vpn.lib.errors import Refused, StateError
from vpn.lib.registry import migration
from vpn.lib.registry.audit import find_break
from vpn.lib.registry.database import CHANGED_IN_2
from vpn.lib.registry.sqlite import Outdated, SqliteRegistry

if TYPE_CHECKING:
    from pathlib import Path

PEERS = (peer(2), peer(3, public_key=key(3)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A registry of version 1 with two peers, two released addresses, and three entries in its log."""
    path = tmp_path / "registry.db"
    schema1.write(path, *PEERS, released=(int(IPv4Address("10.221.0.9")), int(IPv4Address("10.221.0.5"))))
    return path


def schema(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        return set(database.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))


def test_an_older_registry_is_not_opened_as_it_is(path: Path) -> None:
    with pytest.raises(Outdated, match=r"is of an older release; `configure_peer.py list` brings it up to date"):
        SqliteRegistry(path)


def test_everything_is_there_afterwards(path: Path) -> None:
    copy = migration.migrate(path, None, 5000.0)
    assert copy is not None
    with closing(SqliteRegistry(path)) as registry:
        assert list(registry.peers()) == list(PEERS)
        assert (registry.private_key(), registry.public_key()) == (HUB, HUB.public_key())
        registry.check()
        records = list(registry.records())
        assert [
            (entry.at, entry.uid, entry.command, entry.peer and entry.peer.id, entry.what)
            for _, entry, _ in records[:-2]
        ] == [(at, uid, command, peer_id, what) for at, uid, command, _, peer_id, what in schema1.LOG]
        assert [(entry.command, entry.at, entry.what) for _, entry, _ in records[-2:]] == [
            ("migration", 5000.0, "schema 1 to 2; 3 older entries chained"),
            ("migration", 5000.0, "schema 2 to 3"),
        ]
        assert find_break(registry.chain(), records) is None
        with registry.transaction() as transaction:
            free = list(transaction.released(IPv4Address("10.221.0.0"), IPv4Address("10.221.255.255")))
        assert [(str(item.address), item.at) for item in free] == [("10.221.0.9", 5000.0), ("10.221.0.5", 5000.0)]


def test_one_of_version_2_is_brought_up_to_date_with_all_its_peers(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        migration.STEPS[1](database, 4000.0)
        database.execute("PRAGMA user_version = 2")
        database.execute("INSERT INTO leaked VALUES (?, 1)", (bytes(key(7)),))
    copy = migration.migrate(path, None, 5000.0)
    assert copy is not None
    assert copy.name.startswith("registry-v2-")
    with closing(SqliteRegistry(path)) as registry:
        assert list(registry.peers()) == list(PEERS)
        with pytest.raises(Refused, match="leaked"), registry.transaction() as transaction:
            transaction.put(PEERS[0]._replace(public_key=key(7)))
        assert find_break(registry.chain(), registry.records()) is None


def test_the_schema_is_the_one_of_a_new_registry(path: Path) -> None:
    migration.migrate(path, None, 5000.0)
    fresh = path.with_name("fresh.db")
    made(fresh).close()
    assert schema(path) == schema(fresh)


def test_the_copy_is_whole_and_the_owners_alone(path: Path) -> None:
    before = path.read_bytes()
    with closing(sqlite3.connect(path)) as database:
        # A change that is still in the write-ahead log belongs into the copy too.
        database.execute("INSERT INTO released VALUES (1, 99)")
        database.commit()
        assert path.read_bytes() == before
        copy = migration.migrate(path, None, 0.0)
    assert copy == path.with_name("registry-v1-19700101T000000Z.db")
    assert mode_of(copy) == 0o600
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert database.execute("SELECT count(*) FROM log").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM released").fetchone() == (3,)


def test_a_second_time_does_nothing(path: Path) -> None:
    migration.migrate(path, None, 5000.0)
    before = snapshot(path.parent)
    assert migration.migrate(path, None, 6000.0) is None
    assert difference(before, snapshot(path.parent)) == []


def test_a_copy_is_never_overwritten(path: Path) -> None:
    earlier = path.with_name("registry-v1-19700101T000000Z.db")
    earlier.write_text("precious")
    copy = migration.migrate(path, None, 0.0)
    assert earlier.read_text() == "precious"
    assert copy == path.with_name("registry-v1-19700101T000000Z-1.db")


@pytest.mark.parametrize("statement", ["INSERT INTO released VALUES (1)", "no SQL at all"])
def test_one_that_fails_leaves_the_old_state_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    before = snapshot(path.parent)
    monkeypatch.setattr(migration, "CHANGED_IN_2", (*CHANGED_IN_2, statement))
    for _ in range(2):
        with pytest.raises(StateError, match="could not be brought from schema 1 to 3 and is as it was: ") as caught:
            migration.migrate(path, None, 5000.0)
        assert "\n" not in str(caught.value)
    assert difference(before, snapshot(path.parent)) == []
    monkeypatch.undo()
    assert migration.migrate(path, None, 5000.0) is not None


def test_a_log_that_cannot_be_read_is_named_and_left(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO log (at, uid, command, type, id, what) VALUES (1, 0, 'x', 'server', 'a', 'b')")
        database.commit()
    before = snapshot(path.parent)
    with pytest.raises(StateError, match=r"is as it was: .*is damaged \(a row cannot be read\)"):
        migration.migrate(path, None, 5000.0)
    assert difference(before, snapshot(path.parent)) == []


def test_where_no_copy_can_be_made_nothing_is_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(path.parent)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vpn.lib.registry.migration.os.rename", full)
    with pytest.raises(StateError, match="as it was: No space left on device; free some space"):
        migration.migrate(path, None, 5000.0)
    assert difference(before, snapshot(path.parent)) == []


@pytest.mark.parametrize("version", [0, -3])
def test_what_is_no_registry_is_damaged(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StateError, match=r"is damaged .it is no registry"):
        migration.migrate(path, None, 5000.0)
