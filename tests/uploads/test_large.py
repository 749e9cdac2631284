"""A model of 1 GiB goes through a service that has less than 100 MiB of memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import pytest

from tests.uploads.service import FORM_TYPE, Service, form, part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 1 << 30
MEMORY = 100 << 20


class Watched:
    """The greatest memory that the service was seen to have while the context lasts."""

    def __init__(self, service: Service) -> None:
        self.greatest = 0
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.greatest = max(self.greatest, self._service.resident())


def blocks() -> Iterator[bytes]:
    """1 GiB in which no two blocks are the same, and of which only one is held at a time."""
    block = bytearray(range(256)) * 4096
    for number in range(SIZE // len(block)):
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block)


def body() -> Iterator[bytes]:
    yield part(b"")[:-2]
    yield from blocks()
    yield b"\r\n" + form()


@pytest.mark.system
def test_a_gibibyte_up_and_down(app: Path) -> None:
    length = str(sum(map(len, (part(b"")[:-2], b"\r\n" + form()))) + SIZE)
    with Service(app) as service, Watched(service) as watched:
        answer = service.request("POST", "/upload/", body(), {**FORM_TYPE, "Content-Length": length})
        assert (answer.status, answer.json["size"]) == (201, SIZE)

        connection = service.connect()
        connection.request("GET", answer.json["file"].split(str(service.port))[1])
        response = connection.getresponse()
        assert response.headers["Content-Length"] == str(SIZE)
        assert all(response.read(len(block)) == block for block in blocks())
        assert response.read() == b""
        connection.close()

        assert service.request("DELETE", answer.json["url"]).status == 204
    assert 0 < watched.greatest < MEMORY


@pytest.mark.system
def test_many_uploads_at_once_have_no_more_memory(app: Path) -> None:
    sent = form(part(bytes(1 << 20)))
    with Service(app) as service, Watched(service) as watched:
        begun = [service.begin(sent[:-100], len(sent)) for _ in range(60)]
        for connection in begun:
            connection.sendall(sent[-100:])
        answers = [connection.recv(100) for connection in begun]
        assert [answer[:13] for answer in answers] == [b"HTTP/1.1 201 "] * 60
        for connection in begun:
            connection.close()
    assert 0 < watched.greatest < MEMORY
