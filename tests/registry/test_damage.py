"""A registry file that is not as it was left."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.registry.stored import key, made, peer
from vpn.lib.errors import StateError
from vpn.lib.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A registry of 60 peers, closed."""
    path = tmp_path / "registry.db"
    made(path, *(peer(number, public_key=key(number)) for number in range(2, 62))).close()
    return path


def test_a_file_that_is_no_registry_is_refused_and_left_alone(path: Path) -> None:
    whole = path.read_bytes()
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE something (x)")
    for content in (b"", whole[: len(whole) // 2], whole[:100], b"text\n" * 999, bytes(PAGE), other.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(StateError, match=r"is damaged \(.*\); put back a copy of it, or move it away"):
            SqliteRegistry(path)
        assert path.read_bytes() == content


def test_a_newer_registry_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 4")
    content = path.read_bytes()
    with pytest.raises(StateError, match="was written by a newer release; install that release, or a later one"):
        SqliteRegistry(path)
    assert path.read_bytes() == content


def test_a_registry_without_the_hubs_key_is_damaged(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM hub")
    with closing(SqliteRegistry(path)) as registry:
        for read in (registry.private_key, registry.public_key):
            with pytest.raises(StateError, match=r"is damaged .the hub's key is missing"):
                read()


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is not there"):
        SqliteRegistry(tmp_path / "registry.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StateError, match="is a symbolic link; put the file itself there"):
        SqliteRegistry(tmp_path / "link.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StateError, match="is not a regular file"):
        SqliteRegistry(tmp_path / "folder.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.db", "link.db"]


def everything(path: Path) -> None:
    """What commands do."""
    with closing(SqliteRegistry(path)) as registry:
        registry.private_key(), registry.public_key(), registry.endpoints(), registry.version()
        for known in registry.peers():
            registry.peer(known.name)
        with registry.transaction() as transaction:
            for number in range(2, 62):
                transaction.peer(peer(number).name)
                transaction.similar(peer(number).name)
                transaction.holder(key(number))
                transaction.occupant(peer(number).address)
            transaction.delete(peer(2).name, 2000.0)
            transaction.put(peer(100, public_key=key(100)))
        registry.check()


@pytest.mark.parametrize("kind", ["zero", "noise", "flip 1", "flip 2", "flip 3", "flip 4", "flip 5"])
def test_damage_anywhere_is_never_anything_but_a_state_error(path: Path, kind: str) -> None:
    whole = path.read_bytes()
    chance = random.Random(kind)
    noticed = 0
    for page in range(len(whole) // PAGE):
        content = bytearray(whole)
        start = page * PAGE
        if kind.startswith("flip"):
            for _ in range(30):
                content[start + chance.randrange(PAGE)] ^= 1 << chance.randrange(8)
        else:
            content[start : start + PAGE] = bytes(PAGE) if kind == "zero" else chance.randbytes(PAGE)
        path.write_bytes(content)
        try:
            everything(path)
        except StateError as error:
            assert "\n" not in str(error)  # noqa: PT017 - whether there is one depends on the page
            noticed += 1
        for side in ("-wal", "-shm"):
            path.with_name(path.name + side).unlink(missing_ok=True)
    # Not every bit of a page is in use, and of some pages not one.
    assert noticed >= len(whole) // PAGE // 3


def test_a_secret_that_is_text_by_mistake_is_not_printed(path: Path) -> None:
    whole = path.read_bytes()
    secret = bytes([30] * 32)
    assert whole.count(secret) == 1
    # Byte strings of 32 bytes have the type 76, texts 77 (sqlite.org/fileformat2.html#record_format).
    place = whole.index(secret)
    header = whole.rindex(bytes([76, 76]), 0, place)
    path.write_bytes(
        whole[:header] + bytes([77]) + whole[header + 1 : place] + b"\xff" + b"A" * 31 + whole[place + 32 :]
    )
    with closing(SqliteRegistry(path)) as registry, pytest.raises(StateError, match="is damaged") as caught:
        list(registry.peers())
    assert "AAAA" not in str(caught.value)
