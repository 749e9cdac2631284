"""Files on their way into the storage folder."""

from __future__ import annotations

import errno
import os
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from uploads import storage

if TYPE_CHECKING:
    from pathlib import Path


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_a_file_that_is_kept_has_its_bytes_and_is_private(tmp_path: Path) -> None:
    with storage.Partial(tmp_path) as partial:
        partial.write(b"one ")
        partial.write(b"two")
        assert names(tmp_path) == {f".partial-{partial.id}"}
        partial.keep()
    kept = tmp_path / partial.id
    assert kept.read_bytes() == b"one two"
    assert partial.size == 7
    assert kept.stat().st_mode & 0o777 == 0o600
    assert set(storage.ids(tmp_path)) == names(tmp_path) == {partial.id}


def test_a_file_that_is_not_kept_is_gone(tmp_path: Path) -> None:
    with storage.Partial(tmp_path) as partial:
        partial.write(b"x")
    assert names(tmp_path) == set()


def test_a_file_that_an_error_has_cut_off_is_gone(tmp_path: Path) -> None:
    def fail() -> None:
        with storage.Partial(tmp_path) as partial:
            partial.write(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names(tmp_path) == set()


def test_a_file_larger_than_the_file_system_takes_is_no_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with storage.Partial(tmp_path) as partial, pytest.raises(storage.NoRoom) as refused:
            partial.write(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert refused.value.errno == errno.EFBIG
    assert names(tmp_path) == set()


def test_a_sweep_takes_the_half_written_and_nothing_else(tmp_path: Path) -> None:
    whole, half = storage.new_id(), storage.new_id()
    others = {whole, "notes.txt", ".partial-notes"}
    for name in [*others, f".partial-{half}"]:
        (tmp_path / name).touch()
    assert storage.sweep(tmp_path) == 1
    assert names(tmp_path) == others
    assert list(storage.ids(tmp_path)) == [whole]


def test_removing_twice_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    storage.remove(tmp_path, "x")
    storage.remove(tmp_path, "x")
    assert names(tmp_path) == set()


def test_ids_differ_and_hold_192_bits() -> None:
    ids = {storage.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(bytes.fromhex(identifier)) for identifier in ids} == {24}
