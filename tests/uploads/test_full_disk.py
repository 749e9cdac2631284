"""A full disk refuses uploads, and everything else goes on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import FORM_TYPE, Service, eventually, form, part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system


@pytest.fixture
def small(app: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(app)], check=True)
    yield app
    # Lazily: a thread of a killed worker may still be on its way out of it.
    subprocess.run(["umount", "--lazy", str(app)], check=True)


def fill(folder: Path) -> Path:
    """Use up what is left, to the last byte."""
    path = folder / "others"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return path
    raise AssertionError("the disk never filled up")


def test_an_upload_that_does_not_fit(small: Path) -> None:
    with Service(small) as service:
        told = service.upload(bytes(2 << 20)).json
        answer = service.upload(bytes(10 << 20))
        assert answer.status == 507
        assert "delete" in answer.detail
        assert service.stored() == {told["id"]}
        assert service.listed() == [told]
        assert service.upload(bytes(2 << 20)).status == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_some_room_is_left_for_the_database(small: Path, chunked: bool) -> None:
    with Service(small) as service:
        body = form(part(bytes(7 << 20)))
        answer = service.request("POST", "/upload/", [body] if chunked else body, FORM_TYPE)
        assert answer.status == 507
        assert service.stored() == set()


def test_an_upload_without_a_length_that_does_not_fit(small: Path) -> None:
    with Service(small) as service:
        pieces = [part(b"")[:-2], *[bytes(1 << 20)] * 10, form()]
        answer = service.request("POST", "/upload/", pieces, FORM_TYPE)
        assert answer.status == 507
        assert service.stored() == set()
        assert service.upload(bytes(2 << 20)).status == 201


def test_a_disk_that_fills_up_while_an_upload_comes(small: Path) -> None:
    with Service(small) as service:
        body = form(part(bytes(3 << 20)))
        connection = service.begin(body[: 1 << 20], len(body))
        fill(small)
        connection.sendall(body[1 << 20 :])
        assert connection.recv(100).startswith(b"HTTP/1.1 507 ")
        connection.close()
        assert service.stored() == set()


def test_on_a_disk_that_others_have_filled_all_but_uploading_works(small: Path) -> None:
    with Service(small) as service:
        first, second = (service.upload(bytes(300_000)).json for _ in range(2))
        others = fill(small)
        assert service.is_healthy()
        assert service.upload(b"x").status == 507
        assert service.listed() == [second, first]
        assert service.request("GET", first["file"]).body == bytes(300_000)
        assert service.request("DELETE", first["url"]).status == 204
        assert service.listed() == [second]
        others.unlink()
        assert service.upload(b"x").status == 201


def test_what_is_being_read_can_be_deleted_on_a_full_disk(small: Path) -> None:
    """Its room is not free before the reader has ended."""
    with Service(small) as service:
        told = service.upload(bytes(6 << 20)).json
        fill(small)
        connection = service.connect()
        connection.request("GET", told["file"].split(str(service.port))[1])
        response = connection.getresponse()
        assert service.request("DELETE", told["url"]).status == 204
        assert service.listed() == []
        assert response.read() == bytes(6 << 20)
        connection.close()
        eventually(lambda: service.upload(b"x").status == 201, "the room is free again")


def test_a_full_disk_is_said_at_the_start(small: Path) -> None:
    fill(small)
    service = Service(small)
    assert service.spawn().wait(20) == 1
    assert "No space left on device" in service.log.read_text()


def test_after_a_crash_on_a_full_disk_what_was_unfinished_makes_room(small: Path) -> None:
    service = Service(small)
    with service:
        told = service.upload(b"kept").json
        service.kill()
        (small / "files" / (".partial-" + "a" * 48)).write_bytes(bytes(2 << 20))
        fill(small)
        service.start()
        assert service.listed() == [told]
        assert service.upload(b"x").status == 201
