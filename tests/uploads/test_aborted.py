"""Uploads that do not come to their end leave nothing behind, whichever side has ended them."""

from __future__ import annotations

import os
import signal
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import ADDRESS, FORM_TYPE, Service, eventually, form, part

if TYPE_CHECKING:
    from pathlib import Path

BODY = form(part(b"x" * 300_000))


def begun(service: Service, caller: str = ADDRESS) -> socket.socket:
    """An upload of which a half is on the disk."""
    before = service.partials()
    connection = service.begin(BODY[:200_000], len(BODY), caller)
    eventually(lambda: service.partials() - before, "the upload has begun")
    return connection


def test_a_client_that_goes_away(service: Service, caller: str) -> None:
    before = service.stored()
    begun(service, caller).close()
    eventually(lambda: service.stored() == before, "the half file is gone")
    assert service.listed(caller) == []


def test_a_connection_that_is_reset(service: Service, caller: str) -> None:
    before = service.stored()
    connection = begun(service, caller)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    eventually(lambda: service.stored() == before, "the half file is gone")
    assert service.listed(caller) == []


def test_a_body_that_is_shorter_than_it_says(service: Service, caller: str) -> None:
    """Even where all of the form has come: its length says that there is more."""
    before = service.stored()
    with service.begin(BODY, len(BODY) + 100, caller) as connection:
        connection.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: connection.recv(4096), b""))
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"send it again" in response
    assert service.stored() == before


@pytest.mark.parametrize("ending", [b"", b"5\r\nabc", b"nonsense\r\n", b"3\r\nabcdef\r\n0\r\n\r\n"])
def test_a_chunked_body_that_breaks_off(service: Service, caller: str, ending: bytes) -> None:
    before = service.stored()
    half = BODY[:200_000]
    head = f"POST /upload/ HTTP/1.1\r\nHost: {ADDRESS}\r\nTransfer-Encoding: chunked\r\nContent-Type: "
    with socket.create_connection((ADDRESS, service.port), 10, (caller, 0)) as connection:
        connection.sendall(f"{head}{FORM_TYPE['Content-Type']}\r\n\r\n{len(half):x}\r\n".encode() + half + b"\r\n")
        connection.sendall(ending)
        connection.shutdown(socket.SHUT_WR)
        response = b"".join(iter(lambda: connection.recv(4096), b""))
    assert response.startswith(b"HTTP/1.1 400 ")
    assert service.stored() == before
    assert service.listed(caller) == []


def test_a_chunked_body_whose_form_is_cut_off(service: Service, caller: str) -> None:
    before = service.stored()
    answer = service.request("POST", "/upload/", [BODY[:200_000]], FORM_TYPE, caller)
    assert answer.status == 400
    assert "send it again" in answer.detail
    assert service.stored() == before


def test_a_client_that_goes_away_while_it_downloads(service: Service, caller: str) -> None:
    told = service.upload(bytes(4 << 20), caller=caller).json
    path = told["file"].split(str(service.port))[1]
    with socket.create_connection((ADDRESS, service.port), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {ADDRESS}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert service.request("GET", told["file"]).body == bytes(4 << 20)


def test_a_file_that_is_deleted_while_it_is_downloaded_arrives(service: Service, caller: str) -> None:
    content = os.urandom(4 << 20)
    told = service.upload(content, caller=caller).json
    connection = service.connect()
    connection.request("GET", told["file"].split(str(service.port))[1])
    response = connection.getresponse()
    assert service.request("DELETE", told["url"], caller=caller).status == 204
    assert response.read() == content
    connection.close()


def test_a_worker_that_is_killed(app: Path) -> None:
    with Service(app) as service:
        told = service.upload(b"kept").json
        connection = begun(service)
        (app / "files" / ("a" * 48)).touch()  # as if it had been killed between the file and its row
        worker = service.pids()[1]
        os.kill(worker, signal.SIGKILL)
        eventually(service.is_healthy, "the next worker answers")
        assert worker not in service.pids()
        assert service.stored() == {told["id"]}
        assert service.listed() == [told]
        connection.close()


def test_a_service_that_is_killed(app: Path) -> None:
    service = Service(app)
    with service:
        told = service.upload(b"kept").json
        lost = service.upload(b"its file will be missing").json
        connection = begun(service)
        service.kill()
        connection.close()
        assert service.partials()
        (app / "files" / lost["id"]).unlink()
        (app / "files" / ("a" * 48)).write_bytes(b"has no row")
        service.start()
        assert service.stored() == {told["id"]}
        assert service.listed() == [told]
        assert service.request("GET", told["file"]).body == b"kept"


def test_a_gunicorn_that_is_killed_without_its_worker(app: Path) -> None:
    """The worker ends by itself, whatever its uploads do, and the next service waits for that."""
    with Service(app) as service:
        told = service.upload(b"kept").json
        connection = begun(service)
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        service.spawn()  # for a moment the old worker still answers
        eventually(lambda: service.stored() == {told["id"]}, "the half file is gone")
        eventually(service.is_healthy, "the next service answers")
        assert service.listed() == [told]
        connection.close()


def test_a_service_that_is_stopped(app: Path) -> None:
    with Service(app) as service:
        told = service.upload(b"kept").json
        connection = begun(service)
        assert service.stop() == 0
        assert service.stored() == {told["id"]}
        connection.close()


def test_a_file_that_somebody_has_removed_is_not_there(app: Path) -> None:
    with Service(app) as service:
        told = service.upload(b"x").json
        (app / "files" / told["id"]).unlink()
        assert service.request("GET", told["file"]).status == 404
        assert service.request("DELETE", told["url"]).status == 204
        assert service.listed() == []
