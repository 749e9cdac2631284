"""The backup's file: what goes in comes out, and nothing else does."""

from __future__ import annotations

import json
import random
from typing import NoReturn

import pytest
from hypothesis import example, given, settings, strategies as st

from vpn.lib.errors import InvalidInput
from vpn.lib.hub import backup_file
from vpn.lib.hub.backup_file import MAGIC, Contents, pack, unpack

CONTENTS = Contents(1000.5, {"registry.db": b"\0" * 3000 + b"the registry", "config.env": b"export A=b\n"})
PASSPHRASE = b"correct horse"
SEALED = pack(CONTENTS, PASSPHRASE)
PLAIN = pack(CONTENTS, None)


def never() -> NoReturn:
    raise AssertionError("a passphrase is asked for where none is needed")


def changed(raw: bytes, **fields: object) -> bytes:
    """The file with other fields in its header."""
    _, header, payload = raw.split(b"\n", 2)
    known = json.loads(header) | fields
    kept = {name: value for name, value in known.items() if value is not None}
    return MAGIC + json.dumps(kept).encode() + b"\n" + payload


@pytest.mark.parametrize("names", [["registry.db"], ["registry.db", "policy.toml"], ["registry.db", "config.env"]])
@pytest.mark.parametrize("passphrase", [None, b"x", "\u00fc\u00df".encode(), b"\xff\x00", b"y" * 4096])
def test_what_goes_in_comes_out(names: list[str], passphrase: bytes | None) -> None:
    contents = Contents(5.0, {name: name.encode() * 100 for name in names})
    raw = pack(contents, passphrase)
    assert unpack(raw, "b", never if passphrase is None else lambda: passphrase) == contents


def test_nothing_of_the_contents_shows_in_an_encrypted_one() -> None:
    assert b"the registry" not in SEALED
    assert b"export" not in SEALED
    assert b"the registry" in PLAIN


def test_two_of_the_same_differ() -> None:
    assert pack(CONTENTS, PASSPHRASE).split(b"\n", 2)[2] != SEALED.split(b"\n", 2)[2]


@pytest.mark.parametrize("passphrase", [b"", b"correct hors", b"correct horse ", b"Correct horse"])
def test_a_wrong_passphrase_opens_nothing(passphrase: bytes) -> None:
    with pytest.raises(InvalidInput, match="the passphrase does not fit b, or the file is damaged; try again"):
        unpack(SEALED, "b", lambda: passphrase)


@pytest.mark.parametrize("raw", [SEALED, PLAIN], ids=["sealed", "plain"])
def test_one_that_is_cut_short_is_told_wherever_it_is_cut(raw: bytes) -> None:
    head = raw.index(b"\n", len(MAGIC)) + 1
    for length in (*range(head + 5), len(raw) // 2, len(raw) - 17, len(raw) - 1):
        with pytest.raises(InvalidInput, match=r"^b is (empty or )?cut short"):
            unpack(raw[:length], "b", never)


@pytest.mark.parametrize("raw", [SEALED, PLAIN], ids=["sealed", "plain"])
def test_a_change_anywhere_is_noticed(raw: bytes) -> None:
    chance = random.Random(1)
    payload = raw.index(b"\n", len(MAGIC)) + 1
    # In the plain file's first lines a change need not matter: it is no protection against forgery.
    places = [chance.randrange(payload, len(raw)) for _ in range(10)]
    if raw is SEALED:
        places += [chance.randrange(payload) for _ in range(25)]
    for place in places:
        damaged = bytearray(raw)
        damaged[place] ^= 1 << chance.randrange(7)
        with pytest.raises(InvalidInput):
            unpack(bytes(damaged), "b", lambda: PASSPHRASE)
    with pytest.raises(InvalidInput, match="damaged"):
        unpack(raw + b"x", "b", never)


@pytest.mark.parametrize(
    ("fields", "saying"),
    [
        ({"format": 2}, "newer release"),
        ({"format": "1"}, "damaged"),
        ({"format": None}, "damaged"),
        ({"format": 0}, "damaged"),
        ({"cipher": "rot13"}, "damaged"),
        ({"made": "now"}, "damaged"),
        ({"made": 1e300}, "damaged"),
        ({"made": float("nan")}, "damaged"),
        ({"files": {"config.env": 3}}, "damaged"),
        ({"files": {"registry.db": 3, "../x": 3}}, "damaged"),
        ({"files": {"registry.db": -3}}, "damaged"),
        ({"files": {"registry.db": True}}, "damaged"),
        ({"files": {"registry.db": 2**70}}, "cut short"),
        ({"files": 7}, "damaged"),
        ({"n": 2**21}, "damaged"),
        ({"n": 65537}, "damaged"),
        ({"n": 1}, "damaged"),
        ({"r": 10**9}, "damaged"),
        ({"p": 0}, "damaged"),
        ({"p": "1"}, "damaged"),
        ({"salt": "xyz"}, "damaged"),
        ({"salt": None}, "damaged"),
        ({"nonce": "00"}, "damaged"),
        # What is authenticated may not be changed, even to something valid.
        ({"made": 7.0}, "does not fit"),
        ({"extra": 1}, "does not fit"),
        ({"n": 32768}, "does not fit"),
    ],
)
def test_a_forged_header_is_refused_before_it_costs_anything(fields: dict[str, object], saying: str) -> None:
    with pytest.raises(InvalidInput, match=saying):
        unpack(changed(SEALED, **fields), "b", lambda: PASSPHRASE)


@given(st.binary(max_size=200))
@example(MAGIC)
@example(MAGIC + b"[]\n")
@example(MAGIC + b"{}\n")
@example(MAGIC + b"[" * 60000 + b"\n")
@example(MAGIC + b"\xff\n")
@example(MAGIC + b"x" * 70000)
@settings(max_examples=200)
def test_whatever_is_no_backup_is_refused_as_such(raw: bytes) -> None:
    for given_bytes in (raw, MAGIC + raw, MAGIC + raw + b"\n"):
        with pytest.raises(InvalidInput, match=r"^b is "):
            unpack(given_bytes, "b", never)


def test_a_beginning_is_told_from_others() -> None:
    assert backup_file.is_one(SEALED[:100])
    assert not backup_file.is_one(b"SQLite format 3\0")
    assert not backup_file.is_one(b"")
