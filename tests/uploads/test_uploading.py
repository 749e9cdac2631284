"""A file goes in, and comes out as it was."""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import ADDRESS, FORM_TYPE, Answer, form, part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.uploads.service import Service


def test_what_fed_biomed_does(service: Service, caller: str) -> None:
    """Its client posts the field ``file``, wants 201, reads ``file`` from the JSON, and gets that."""
    content = os.urandom(300_000)
    answer = service.upload(content, "breakpoint.mpk", caller)
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["file"].startswith(f"http://{ADDRESS}:{service.port}/")
    got = service.request("GET", answer.json["file"])
    assert got.status == 200
    assert got.body == content


def test_what_is_told_of_an_upload(service: Service, caller: str) -> None:
    before = datetime.now(UTC)
    told = service.upload(b"123456", "m.pt", caller).json
    assert set(told) == {"url", "id", "file", "name", "size", "created_at"}
    assert (told["name"], told["size"]) == ("m.pt", 6)
    assert before <= datetime.fromisoformat(told["created_at"]) <= datetime.now(UTC)
    assert service.request("GET", told["url"], caller=caller).json == told
    assert service.listed(caller) == [told]


def test_the_address_cannot_be_guessed(service: Service, caller: str) -> None:
    first, second = (service.upload(b"x", "same.bin", caller).json["file"] for _ in range(2))
    (random,) = re.findall(r"/upload/([0-9a-f]+)/file", first)
    assert len(bytes.fromhex(random)) * 8 >= 128
    assert first != second


def test_a_download_is_saved_and_never_shown(service: Service, caller: str) -> None:
    told = service.upload(b"<html><script>alert(1)</script>", "page.html", caller).json
    got = service.request("GET", told["file"], headers={"Accept": "text/html"})
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert got.headers["Content-Disposition"] == 'attachment; filename="page.html"'
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Length"] == str(told["size"])


def test_an_empty_file(service: Service, caller: str) -> None:
    told = service.upload(b"", "empty", caller).json
    got = service.request("GET", told["file"])
    assert (told["size"], got.status, got.body) == (0, 200, b"")


@pytest.mark.parametrize("content", [b"\r\n", b"--", b"\r\n--" + b"6d0b3cf6a4b24cb9b", b"\n" * 200_000])
def test_bytes_that_look_like_the_frame(service: Service, caller: str, content: bytes) -> None:
    told = service.upload(content, caller=caller).json
    assert service.request("GET", told["file"]).body == content


def test_the_last_slash_may_be_missing(service: Service, caller: str) -> None:
    answer = service.request("POST", "/upload", form(part(b"x")), FORM_TYPE, caller)
    assert answer.status == 201
    assert service.request("GET", "/upload", caller=caller).json == [answer.json]


def test_a_chunked_upload(service: Service, caller: str) -> None:
    content = os.urandom(500_000)
    body = form(part(content))
    pieces = (body[start : start + 70_000] for start in range(0, len(body), 70_000))
    answer = service.request("POST", "/upload/", pieces, FORM_TYPE, caller)
    assert answer.status == 201
    assert service.request("GET", answer.json["file"]).body == content


def test_fields_beside_the_file_do_not_harm(service: Service, caller: str) -> None:
    answer = service.post(form(part(b"a note", None, "description"), part(b"content")), caller)
    assert answer.status == 201
    assert service.request("GET", answer.json["file"]).body == b"content"


def test_the_addresses_begin_with_the_name_that_the_caller_used(service: Service, caller: str) -> None:
    headers = {**FORM_TYPE, "Host": "uploads.example:1234"}
    told = service.request("POST", "/upload/", form(part(b"x")), headers, caller).json
    assert told["file"].startswith("http://uploads.example:1234/upload/")
    assert told["url"].startswith("http://uploads.example:1234/upload/")


def test_several_at_the_same_time(service: Service, caller: str) -> None:
    contents = [os.urandom(200_000) for _ in range(12)]
    bodies = [form(part(content)) for content in contents]
    # All have begun before the first ends.
    begun = [service.begin(body[:100_000], len(body), caller) for body in bodies]
    threads = [
        threading.Thread(target=connection.sendall, args=(body[100_000:],))
        for connection, body in zip(begun, bodies, strict=True)
    ]
    for thread in threads:
        thread.start()
    answers = []
    for connection in begun:
        response = http.client.HTTPResponse(connection)
        response.begin()
        answers.append(Answer(response.status, response.headers, response.read()))
        connection.close()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [201] * len(contents)
    assert [service.request("GET", answer.json["file"]).body for answer in answers] == contents


def test_many_requests_over_one_connection(service: Service, caller: str) -> None:
    def answers() -> Iterator[int]:
        connection = service.connect(caller)
        for _ in range(3):
            connection.request("POST", "/upload/", form(part(b"x")), FORM_TYPE)
            told = connection.getresponse()
            yield told.status
            path = json.loads(told.read())["file"].split(str(service.port))[1]
            connection.request("GET", path)
            got = connection.getresponse()
            assert got.read() == b"x"
            yield got.status
        connection.close()

    assert list(answers()) == [201, 200] * 3


def test_head_tells_without_a_body(service: Service, caller: str) -> None:
    told = service.upload(b"12345", caller=caller).json
    for path in ("/upload/", "/health/", told["url"], told["file"]):
        got = service.request("GET", path, caller=caller)
        head = service.request("HEAD", path, caller=caller)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\\\..\\\\x.bin", "x.bin"),
        ("/etc/shadow", "shadow"),
        ("..", "upload"),
        ("a\0b.bin", "ab.bin"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("n" * 300 + ".bin", "n" * 146 + ".bin"),
        ("Köln 模型.pt", "Köln 模型.pt"),
        ('a\\"; filename=\\"b', 'a"; filename="b'),
        ("<script>", "<script>"),
        ("%0d%0aX-Evil: 1", "%0d%0aX-Evil: 1"),
    ],
)
def test_a_name_is_only_shown(service: Service, caller: str, name: str, shown: str) -> None:
    answer = service.upload(b"content", name, caller)
    assert answer.status == 201
    assert answer.json["name"] == shown
    assert answer.json["id"] in service.stored()
    got = service.request("GET", answer.json["file"])
    assert got.body == b"content"
    disposition = got.headers["Content-Disposition"]
    assert disposition.startswith("attachment")
    assert disposition.isascii()
    assert disposition.isprintable()
    assert "X-Evil" not in got.headers


def test_a_name_cannot_add_a_line(service: Service, caller: str) -> None:
    told = service.upload(b"content", "a\nX-Evil: 1", caller).json
    assert told["name"] == "aX-Evil: 1"
    assert "X-Evil" not in service.request("GET", told["file"]).headers


def test_health(service: Service) -> None:
    answer = service.request("GET", "/health/")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
