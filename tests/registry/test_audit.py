"""The log as a chain: what is noticed of it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.registry.stored import made, peer
from vpn.lib.registry.audit import Chain, Record, find_break, link
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.registry.sqlite import SqliteRegistry
from vpn.lib.registry.store import LogEntry

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.registry.store import Transaction

texts = st.text(st.characters(codec="utf-8"), max_size=20)
entries = st.builds(
    LogEntry,
    st.floats(allow_nan=False),
    st.integers(0, 2**32),
    texts,
    st.none() | st.builds(PeerName, st.sampled_from(PeerType), texts),
    texts,
    st.none() | st.integers(0, 2**32),
)


def chained(*logged: LogEntry) -> tuple[Chain, list[Record]]:
    """A chain of these."""
    head = genesis = bytes(32)
    records = []
    for number, entry in enumerate(logged, start=1):
        head = link(head, number, entry)
        records.append(Record(number, entry, head))
    return Chain(genesis, len(records), head), records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A registry with five entries in its log, closed."""
    path = tmp_path / "registry.db"
    with closing(made(path, peer(2))) as registry:
        for number in range(5):
            with registry.transaction() as transaction:
                transaction.log(LogEntry(1000.0 + number, 7, "add", peer(2).name, f"change {number}", 8))
    return path


def break_off(transaction: Transaction) -> None:
    """Log something, then end as Ctrl-C does."""
    transaction.log(LogEntry(9.0, 0, "test", None, "nothing"))
    raise KeyboardInterrupt


def test_the_encoding_is_the_one_that_is_documented() -> None:
    entry = LogEntry(1.5, 7, "add", PeerName(PeerType.NODE, "n\u00e9"), "add KEY", None)
    text = b"1:3,20:0x1.8000000000000p+0,1:7,-,3:add,4:node,3:n\xc3\xa9,7:add KEY,"
    assert link(b"x" * 32, 3, entry) == hashlib.sha256(b"x" * 32 + text).digest()


@given(st.lists(entries, max_size=5))
def test_a_chain_that_nobody_touched_is_whole(logged: list[LogEntry]) -> None:
    assert find_break(*chained(*logged)) is None


@given(st.lists(entries, min_size=1, max_size=5), st.data())
def test_another_entry_in_the_place_of_one_is_found(logged: list[LogEntry], data: st.DataObject) -> None:
    chain, records = chained(*logged)
    place = data.draw(st.integers(0, len(logged) - 1))
    other = data.draw(entries.filter(lambda entry: repr(entry) != repr(logged[place])))
    records[place] = records[place]._replace(entry=other)
    found = find_break(chain, records)
    assert found is not None
    assert found.number == place + 1


@pytest.mark.parametrize(
    ("statement", "number", "reason"),
    [
        ("UPDATE log SET what = 'x' WHERE number = 3", 3, "changed"),
        ("UPDATE log SET at = at + 1 WHERE number = 1", 1, "changed"),
        ("UPDATE log SET uid = 0 WHERE number = 5", 5, "changed"),
        ("UPDATE log SET login = NULL WHERE number = 2", 2, "changed"),
        ("UPDATE log SET login = 7 WHERE number = 2", 2, "changed"),
        ("UPDATE log SET command = 'remove' WHERE number = 2", 2, "changed"),
        ("UPDATE log SET type = 'researcher' WHERE number = 2", 2, "changed"),
        ("UPDATE log SET id = 'node3' WHERE number = 2", 2, "changed"),
        ("UPDATE log SET hash = zeroblob(32) WHERE number = 4", 4, "changed"),
        ("UPDATE hub SET genesis = zeroblob(32)", 1, "changed"),
        ("DELETE FROM log WHERE number = 1", 1, "missing"),
        ("DELETE FROM log WHERE number = 3", 3, "missing"),
        ("DELETE FROM log WHERE number = 5", 5, "missing: the end of the log was cut off"),
        ("DELETE FROM log", 1, "missing: the end"),
        ("DELETE FROM log WHERE number = 5; UPDATE hub SET log_count = 4", 4, "not the entry that the log ended with"),
        ("UPDATE log SET number = 6 WHERE number = 2; UPDATE log SET number = 2 WHERE number = 3", 2, "changed"),
        ("INSERT INTO log SELECT 6, at, uid, login, command, type, id, what, hash FROM log LIMIT 1", 6, "changed"),
        ("UPDATE hub SET log_count = 4", 5, "added without the hub's doing"),
    ],
)
def test_tampering_is_found_at_its_first_entry(path: Path, statement: str, number: int, reason: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for trigger in ("log_is_append_only_update", "log_is_append_only_delete"):
            database.execute(f"DROP TRIGGER {trigger}")
        database.executescript(statement)
    with closing(SqliteRegistry(path)) as registry:
        found = find_break(registry.chain(), registry.records())
    assert found is not None
    assert found.number == number
    assert reason in found.reason


def test_each_registry_begins_with_a_genesis_of_its_own(tmp_path: Path) -> None:
    geneses = set()
    for number in range(3):
        with closing(made(tmp_path / f"{number}.db")) as registry:
            chain = registry.chain()
            assert (chain.entries, chain.head) == (0, chain.genesis)
            assert find_break(chain, registry.records()) is None
            geneses.add(chain.genesis)
    assert len(geneses) == 3


def test_what_is_rolled_back_is_not_in_the_chain(path: Path) -> None:
    with closing(SqliteRegistry(path)) as registry:
        before = registry.chain()
        with pytest.raises(KeyboardInterrupt), registry.transaction() as transaction:
            break_off(transaction)
        assert registry.chain() == before
        with registry.transaction() as transaction:
            for number in range(3):
                transaction.log(LogEntry(9.0, 0, "test", None, f"in one transaction {number}"))
        assert registry.chain().entries == before.entries + 3
        assert find_break(registry.chain(), registry.records()) is None


def test_registry_time_never_runs_back(path: Path) -> None:
    with closing(SqliteRegistry(path)) as registry:
        with registry.transaction() as transaction:
            assert transaction.now(5.0) == 1004.0
            transaction.log(LogEntry(transaction.now(5000.0), 0, "test", None, "later"))
            assert transaction.now(6.0) == 5000.0
        with registry.transaction() as transaction:
            assert transaction.now(7.0) == 5000.0
            assert transaction.now(5001.0) == 5001.0
