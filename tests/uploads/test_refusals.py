"""What is refused is told in one line that says what to do, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import ADDRESS, BOUNDARY, FORM_TYPE, form, part

if TYPE_CHECKING:
    from tests.uploads.service import Service

LIMIT = 4 << 20
"""UPLOADS_MAX_BYTES of the fixture."""

CUT = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nhalf a file\r\n'.encode()


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (form(part(b"x", None, "other")), "there is no field `file`"),
        (form(), "there is no field `file`"),
        (form(part(b"x", None)), "no file name"),
        (form(part(b"x", "")), "no file name"),
        (form(part(b"x", "a", "other")), "another field"),
        (form(part(b"x", "a"), part(b"y", "b")), "more than one"),
        (form(part(b"x", "a"), part(b"y", "b", "other")), "another field"),
        (form(part(b"x", "a"), part(b"y" * 100_000, None, "note")), "send the file alone"),
        (form(part(b"x", "a"), *[part(b"", None, "n")] * 50), "send the file alone"),
        (form(part(b"x", "n" * 2000)), "that can be read"),
        (CUT, "ended before it was complete"),
        (b"no form at all", "ended before it was complete"),
        (b"", "there is no field `file`"),
    ],
)
def test_a_form_without_one_file(service: Service, caller: str, body: bytes, line: str) -> None:
    before = service.stored()
    answer = service.post(body, caller)
    assert answer.status == 400
    assert line in answer.detail
    assert service.listed(caller) == []
    assert service.stored() == before


@pytest.mark.parametrize(
    ("content_type", "status", "line"),
    [
        (None, 400, "there is no field `file`"),
        ("application/x-www-form-urlencoded", 400, "there is no field `file`"),
        ("application/json", 415, "multipart/form-data"),
        ("multipart/mixed; boundary=x", 415, "multipart/form-data"),
        ("multipart/form-data", 400, "boundary"),
        ("multipart/form-data; boundary=", 400, "boundary"),
        ("multipart/form-data; boundary=" + "x" * 300, 400, "that can be read"),
        ("multipart/form-data; boundary=\xff", 400, "that can be read"),
        ("multipart/form-data; boundary*=nonsense''x", 415, "multipart/form-data"),
    ],
)
def test_another_content_type(service: Service, caller: str, content_type: str | None, status: int, line: str) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = service.request("POST", "/upload/", b"field=value", headers, caller)
    assert answer.status == status
    assert line in answer.detail


@pytest.mark.parametrize("name", [b"filename*=nonsense''x%ff", b"filename*=utf-8''%ff%fe", b'filename="\xff\xfe"'])
def test_a_name_in_no_known_encoding_breaks_nothing(service: Service, caller: str, name: bytes) -> None:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '.encode()
    answer = service.post(head + name + b"\r\n\r\nx\r\n" + form(), caller)
    assert answer.status in {201, 400}
    assert len(service.listed(caller)) == (answer.status == 201)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/upload/", "GET, POST"),
        ("DELETE", "/upload/", "GET, POST"),
        ("OPTIONS", "/upload/", "GET, POST"),
        ("PATCH", "/upload/" + "0" * 48, "GET, DELETE"),
        ("POST", "/upload/" + "0" * 48 + "/file", "GET"),
        ("POST", "/health/", "GET"),
    ],
)
def test_another_method(service: Service, method: str, path: str, allowed: str) -> None:
    answer = service.request(method, path)
    assert answer.status == 405
    assert allowed in answer.detail
    assert answer.headers["Allow"].replace(", HEAD", "") == allowed


@pytest.mark.parametrize(
    "path", ["/", "/admin/", "/upload/1", "/upload/../health/", "/upload/" + "0" * 48 + "%0a", "/static/x", "/%00"]
)
def test_nothing_else_is_there(service: Service, path: str) -> None:
    answer = service.request("GET", path)
    assert answer.status == 404
    assert "/upload/" in answer.detail


def test_nobody_gets_html(service: Service) -> None:
    answer = service.request("GET", "/upload/?format=api", headers={"Accept": "text/html"})
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "a b", "[::"])
@pytest.mark.parametrize("path", ["/upload/", "/health/"])
def test_an_unknown_host(service: Service, host: str, path: str) -> None:
    answer = service.request("GET", path, headers={"Host": host})
    assert answer.status == 400
    assert "Host" in answer.detail


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "uploads.example"])
def test_a_known_host(service: Service, host: str) -> None:
    assert service.request("GET", "/health/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "request_line",
    [b"GARBAGE", b"GET / HTTP/9.9", b"GET /" + b"x" * 10_000 + b" HTTP/1.1", b"GET / HTTP/1.1\r\na b: c"],
)
def test_what_is_no_http(service: Service, request_line: bytes) -> None:
    with socket.create_connection((ADDRESS, service.port), 10) as connection:
        connection.sendall(request_line + b"\r\n\r\n")
        head, _, body = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert b"application/json" in head
    assert body.startswith(b'{"detail": "')


def test_the_largest_file_that_is_taken(service: Service, caller: str) -> None:
    answer = service.upload(bytes(LIMIT), caller=caller)
    assert (answer.status, answer.json["size"]) == (201, LIMIT)


def test_a_file_that_is_one_byte_too_large(service: Service, caller: str) -> None:
    before = service.stored()
    answer = service.upload(bytes(LIMIT + 1), caller=caller)
    assert answer.status == 413
    assert "UPLOADS_MAX_BYTES" in answer.detail
    assert str(LIMIT) in answer.detail
    assert service.stored() == before
    assert service.listed(caller) == []


def test_too_large_is_refused_from_the_header_alone(service: Service, caller: str) -> None:
    with contextlib.closing(service.connect(caller)) as connection:
        connection.putrequest("POST", "/upload/")
        connection.putheader("Content-Length", str(1 << 50))
        connection.putheader("Content-Type", FORM_TYPE["Content-Type"])
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_a_client_that_sends_all_before_it_reads_learns_why(service: Service, caller: str) -> None:
    answer = service.post(bytes(20 << 20), caller)
    assert answer.status == 413


def test_too_large_without_a_length(service: Service, caller: str) -> None:
    before = service.stored()
    pieces = [form(part(b""))[:-40], *[bytes(1 << 20)] * 6]
    answer = service.request("POST", "/upload/", pieces, FORM_TYPE, caller)
    assert answer.status == 413
    assert service.stored() == before


def test_a_body_that_is_endless_though_its_file_is_small(service: Service, caller: str) -> None:
    before = service.stored()
    head = part(b"")[:-4] + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    answer = service.request("POST", "/upload/", [head, *[b" " * (1 << 20)] * 6], FORM_TYPE, caller)
    assert answer.status == 413
    assert service.stored() == before


def test_no_address_of_an_upload_is_logged(service: Service, caller: str) -> None:
    told = service.upload(b"x", "private-name.bin", caller).json
    service.request("GET", told["file"])
    service.request("DELETE", told["url"], caller="127.0.0.1")
    service.request("DELETE", told["url"], caller=caller)
    log = service.log.read_text()
    assert f"upload of 1 bytes from {caller}" in log
    assert told["id"] not in log
    assert "private-name" not in log
