"""Django's secret key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from uploads import secret_key
from uploads.configuration import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    secret_key.make(tmp_path)
    key = secret_key.read(tmp_path)
    secret_key.make(tmp_path)
    assert secret_key.read(tmp_path) == key
    assert len(key) >= 50
    assert os.listdir(tmp_path) == ["secret_key"]
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    keys = set()
    for name in "ab":
        (tmp_path / name).mkdir()
        secret_key.make(tmp_path / name)
        keys.add(secret_key.read(tmp_path / name))
    assert len(keys) == 2


def test_what_a_killed_start_has_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".secret_key.tmp").write_text("half")
    secret_key.make(tmp_path)
    assert len(secret_key.read(tmp_path)) >= 50
    assert os.listdir(tmp_path) == ["secret_key"]


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff\xfe"])
def test_a_damaged_key_is_named_and_left(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "secret_key"
    path.write_bytes(damage)
    with pytest.raises(ConfigurationError, match=str(path)):
        secret_key.make(tmp_path)
    assert path.read_bytes() == damage
