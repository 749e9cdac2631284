"""Files that are whole or absent, private from their creation, and never written through a link."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from vpn.lib import files
from vpn.lib.errors import Busy, InvalidInput, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever mask the process was started with."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_is_written_and_replaced_with_its_mode_whatever_the_umask(umask: None, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    for data in (b"one", b"", b"x" * 100_000):
        files.write(path, data)
        assert (path.read_bytes(), mode(path)) == (data, 0o600)
    files.write(path, b"open", mode=0o644)
    assert mode(path) == 0o644
    assert os.listdir(tmp_path) == ["secret"]


def test_a_file_is_private_from_its_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real_write(descriptor, data)

    before = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            files.write(tmp_path / "secret", b"key")
    finally:
        os.umask(before)
    assert seen == [0o600]


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fchmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "secret"
    files.write(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StateError, match=str(path)) as caught:
            files.write(path, b"new")
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["secret"]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real_write(descriptor, bytes(data)[:3]))
        files.write(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    left = tmp_path / ".file.tmp"
    left.write_bytes(b"half")
    left.chmod(0o666)
    files.write(tmp_path / "file", b"whole")
    assert ((tmp_path / "file").read_bytes(), mode(tmp_path / "file")) == (b"whole", 0o600)
    assert not left.exists()


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    (tmp_path / ".file.tmp").symlink_to(victim)
    files.write(tmp_path / "file", b"ours")
    assert victim.read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo"])
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / "file", tmp_path / "victim"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(victim)
        if kind == "link":
            victim.write_bytes(b"theirs")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StateError, match="not a regular file"):
        files.write(path, b"ours")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_folder_that_is_not_there_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="check the path"):
        files.write(tmp_path / "none" / "file", b"")


def test_folders_are_made_private_whatever_the_umask(umask: None, tmp_path: Path) -> None:
    with files.folder(tmp_path, "a", "b", create=True) as descriptor:
        files.write_at(descriptor, "file", b"x")
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"x"


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o755)
    (tmp_path / "a").chmod(0o755)
    with files.folder(tmp_path, "a", create=True):
        pass
    assert mode(tmp_path / "a") == 0o755


@pytest.mark.parametrize("create", [False, True])
def test_no_link_is_followed_below_the_root(tmp_path: Path, create: bool) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "b").mkdir(parents=True)
    (root / "a").symlink_to(outside)
    with pytest.raises(StateError, match="symbolic link"), files.folder(root, "a", "b", create=create):
        pass
    (root / "file").write_bytes(b"")
    with pytest.raises(StateError, match="where a folder is due"), files.folder(root, "file", create=create):
        pass
    assert os.listdir(outside) == ["b"]


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.folder(tmp_path, "a"):
        pass


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        files.write(tmp_path / "file", b"x")
        files.read_text(tmp_path / "file")
        with pytest.raises(StateError), files.folder(tmp_path, "link"):
            pass
        with files.Lock(tmp_path / "lock"):
            assert not files.Lock(tmp_path / "lock").acquire()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("text", ["", "a\nb", "ü", "\r\n"])
def test_text_is_read_as_it_stands(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode())
    assert files.read_text(path) == text


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        files.read_text(path)
    path.write_bytes(b"ab\xff")
    with pytest.raises(InvalidInput, match="byte 2"):
        files.read_text(path)
    with path.open("wb") as file:
        file.truncate(files.TEXT_LIMIT + 1)
    with pytest.raises(InvalidInput, match="larger than 4 MiB"):
        files.read_text(path)
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(path)
    os.mkfifo(fifo)
    with pytest.raises(InvalidInput, match="symbolic link"):
        files.read_text(link)
    for odd in (fifo, tmp_path):  # a FIFO that nobody writes to must not keep the reader waiting
        with pytest.raises(InvalidInput, match="not a regular file"):
            files.read_text(odd)


def test_permissions_are_taken_away_and_never_given(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    link.symlink_to(path)
    path.chmod(0o664)
    assert not files.tighten(link, 0o600)
    assert files.tighten(path, 0o600)
    assert mode(path) == 0o600
    assert not files.tighten(path, 0o600)
    path.chmod(0o400)
    assert not files.tighten(path, 0o600)
    assert mode(path) == 0o400
    assert not files.tighten(tmp_path / "none", 0o600)


@pytest.mark.system
def test_files_and_new_folders_belong_to_the_owner(tmp_path: Path) -> None:
    owner = files.Owner(1234, 2345)
    with files.folder(tmp_path, "a", owner=owner, create=True) as descriptor:
        files.write_at(descriptor, "file", b"x", owner=owner)
    for path in (tmp_path / "a", tmp_path / "a" / "file"):
        assert (path.stat().st_uid, path.stat().st_gid) == owner


@pytest.mark.parametrize(
    ("environ", "owner"),
    [
        ({}, None),
        ({"CONTAINER_UID": ""}, None),
        ({"CONTAINER_GID": "5"}, None),
        ({"CONTAINER_UID": "1000"}, (1000, 1000)),
        ({"CONTAINER_UID": "1000", "CONTAINER_GID": "5"}, (1000, 5)),
    ],
)
def test_the_owner_comes_from_the_environment(environ: dict[str, str], owner: tuple[int, int] | None) -> None:
    assert files.owner_from_environment(environ) == owner


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTAINER_UID": "me"},
        {"CONTAINER_UID": "1", "CONTAINER_GID": "-1"},
        {"CONTAINER_UID": "4294967295"},
        {"CONTAINER_UID": "\u0661"},
    ],
)
def test_an_owner_that_is_no_number_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="must be numbers"):
        files.owner_from_environment(environ)


def test_a_lock_is_held_once_and_again_after_its_release(tmp_path: Path) -> None:
    first, second = files.Lock(tmp_path / "lock"), files.Lock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    first.release()
    assert second.acquire()
    second.release()
    assert mode(tmp_path / "lock") == 0o600


def test_waiting_for_a_lock_ends_with_it_or_with_busy(tmp_path: Path) -> None:
    holder, waiter = files.Lock(tmp_path / "lock"), files.Lock(tmp_path / "lock", timeout=30.0)
    assert holder.acquire()
    with pytest.raises(Busy, match="fuser"), files.Lock(tmp_path / "lock", timeout=0.05):
        pass
    threading.Timer(0.05, holder.release).start()
    with waiter:
        assert not files.Lock(tmp_path / "lock").acquire()


def test_a_lock_goes_with_the_process_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = """
import sys, time
from pathlib import Path
from vpn.lib.files import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert not files.Lock(path).acquire()
    finally:
        process.kill()
        process.communicate()
    with files.Lock(path):
        pass


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="cannot open"):
        files.Lock(tmp_path / "lock").acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_is_synced_and_a_missing_path_is_an_error(tmp_path: Path) -> None:
    files.sync_file_system(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        files.sync_file_system(tmp_path / "none")
