"""Starting: what is made, what is refused, and who may run it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import DEADLINE, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.uploads.service import Answer


def modes(folder: Path) -> dict[str, str]:
    """Every file and folder below, with its mode."""
    return {str(path.relative_to(folder)): stat.filemode(path.stat().st_mode) for path in folder.rglob("*")}


def refusal(service: Service) -> str:
    """What a service says that does not start."""
    before = len(service.log.read_text()) if service.log.exists() else 0
    assert service.spawn().wait(DEADLINE) == 1
    said = service.log.read_text()[before:]
    assert said.startswith("uploads: ")
    assert said.count("\n") == 1
    return said


def test_all_that_is_made_is_private(app: Path) -> None:
    with Service(app) as service:
        told = service.upload(b"x").json
        found = modes(app)
    assert found.pop("files") == "drwx------"
    assert set(found) >= {"db.sqlite3", "secret_key", f"files/{told['id']}"}
    assert set(found.values()) == {"-rw-------"}


def test_a_second_start_finds_everything(app: Path) -> None:
    service = Service(app)
    with service:
        told = service.upload(b"x").json
        key = (app / "secret_key").read_bytes()
        assert service.stop() == 0
        assert set(os.listdir(app)) == {".ballast", ".lock", "db.sqlite3", "files", "secret_key"}
        service.start()
        assert service.listed() == [told]
        assert service.request("GET", told["file"]).body == b"x"
        assert (app / "secret_key").read_bytes() == key


def test_without_its_database_it_begins_anew(app: Path) -> None:
    """The notes of the consortium clean it by removing the database alone."""
    service = Service(app)
    with service:
        service.upload(b"x")
        service.kill()  # so that the log of the database is still there
        (app / "db.sqlite3").unlink()
        service.start()
        assert service.listed() == []
        assert service.stored() == set()
        assert service.upload(b"y").status == 201


def test_the_database_waits_for_others_and_survives_them(app: Path) -> None:
    with Service(app) as service:
        with sqlite3.connect(app / "db.sqlite3") as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            other.execute("BEGIN IMMEDIATE")
            assert service.is_healthy()
            other.rollback()
        other.close()
        assert service.upload(b"x").status == 201


def test_only_the_vpn_address_is_listened_on(app: Path) -> None:
    with Service(app) as service:
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {local for _, local, _, state, *_ in sockets if state == "0A"}
    assert [local for local in listening if local.endswith(f":{service.port:04X}")] == [f"0100007F:{service.port:04X}"]


def test_a_second_service_on_the_same_folder_is_refused(app: Path) -> None:
    with Service(app) as service:
        told = service.upload(b"x").json
        assert f"another upload service runs on {app}" in refusal(Service(app))
        assert service.listed() == [told]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"VPN_IP": ""}, "VPN_IP"),
        ({"UPLOADS_MAX_BYTES": "lots"}, "UPLOADS_MAX_BYTES"),
        ({"UPLOADS_FOLDER": "/nonexistent"}, "UPLOADS_FOLDER"),
    ],
)
def test_a_setting_that_cannot_be_meant(app: Path, settings: dict[str, str], line: str) -> None:
    assert line in refusal(Service(app, None, **settings))


def test_a_damaged_database_is_named_and_left(app: Path) -> None:
    (app / "db.sqlite3").write_bytes(b"no database" * 1000)
    assert f"{app}/db.sqlite3: file is not a database" in refusal(Service(app))
    assert (app / "db.sqlite3").read_bytes() == b"no database" * 1000


def test_a_damaged_key_is_named(app: Path) -> None:
    (app / "secret_key").write_bytes(b"")
    assert f"{app}/secret_key is damaged" in refusal(Service(app))


def test_a_link_in_the_place_of_the_lock_is_not_followed(app: Path, tmp_path: Path) -> None:
    (app / ".lock").symlink_to(tmp_path / "elsewhere")
    assert str(app / ".lock") in refusal(Service(app))
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.system
def test_any_user_can_run_it(open_folder: Path) -> None:
    """A uid that no account has, as the container gets it from its host."""
    app = open_folder / "app"
    app.mkdir()
    os.chown(app, 54321, 54321)
    with Service(app, as_user=54321) as service:
        answer: Answer = service.upload(b"x")
        assert answer.status == 201
        assert service.request("GET", answer.json["file"]).body == b"x"
        assert {path.stat().st_uid for path in app.rglob("*")} == {54321}
        assert service.stop() == 0


@pytest.mark.system
def test_a_folder_that_cannot_be_written_is_named(open_folder: Path) -> None:
    app = open_folder / "app"
    app.mkdir()
    said = refusal(Service(app, as_user=54321))
    assert f"{app}/files: Permission denied" in said
    assert "uid 54321" in said
