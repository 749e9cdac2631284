"""The component's private key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.registry.snapshot import difference, mode_of, snapshot
from vpn.lib.component.identity import load_or_make
from vpn.lib.errors import StateError
from vpn.lib.files import Owner

if TYPE_CHECKING:
    from pathlib import Path

KEY = "iF394fLXg1+yyhq8Pun4rP0oo3i8Ero0I5DwIFHKqUQ="
OLDER = f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.221.0.2/14\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the key is."""
    (tmp_path / "wireguard").mkdir(mode=0o700)
    return tmp_path / "wireguard" / "private.key"


def test_a_key_is_made_once_and_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        first = load_or_make(tmp_path, Owner(os.getuid(), os.getgid()))
    finally:
        os.umask(before)
    assert load_or_make(tmp_path, None) == first
    assert mode_of(tmp_path / "wireguard" / "private.key") == 0o600
    assert mode_of(tmp_path / "wireguard") == 0o700


def test_a_loosened_key_is_tightened(tmp_path: Path, path: Path) -> None:
    path.write_text(f"{KEY}\n")
    path.chmod(0o644)
    assert load_or_make(tmp_path, None).reveal() == KEY
    assert mode_of(path) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"\n", KEY[:30].encode(), KEY.encode() + b"\n\n", b"\xff" * 44, KEY.encode() * 2]
)
def test_a_damaged_key_is_left_alone(tmp_path: Path, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    # An older file with a good key must not take over either: the hub may know the newer one.
    path.with_name("wg0.conf").write_text(OLDER)
    before = snapshot(tmp_path)
    with pytest.raises(StateError, match=r"private.key is damaged; put back a copy of it, or delete it"):
        load_or_make(tmp_path, None)
    assert difference(before, snapshot(tmp_path)) == []


def test_an_older_components_key_is_taken_over(tmp_path: Path, path: Path) -> None:
    path.with_name("wg0.conf").write_text(OLDER)
    assert load_or_make(tmp_path, None).reveal() == KEY
    path.with_name("wg0.conf").unlink()
    assert load_or_make(tmp_path, None).reveal() == KEY


@pytest.mark.parametrize("content", ["", OLDER[:30], OLDER.replace("iF", "i"), OLDER.replace("PrivateKey", "# ")])
def test_a_damaged_older_file_never_becomes_a_new_key(tmp_path: Path, path: Path, content: str) -> None:
    path.with_name("wg0.conf").write_text(content)
    with pytest.raises(StateError, match=r"wg0.conf.*; or delete .*wg0.conf to make a new key and `add` that"):
        load_or_make(tmp_path, None)
    assert not path.exists()


def test_links_are_refused(tmp_path: Path, path: Path) -> None:
    (tmp_path / "other").write_text(f"{KEY}\n")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(StateError, match=r"private.key is damaged"):
        load_or_make(tmp_path, None)
    path.unlink()
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="symbolic link"):
        load_or_make(tmp_path, None)
