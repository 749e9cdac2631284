"""An application over HTTP on a port of its own, while a block runs; and requests to it, by the shortest way."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from typing import TYPE_CHECKING, NamedTuple, Self

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp


class Answer(NamedTuple):
    """What a request got; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()


class Served:
    """Use as a context manager."""

    def __init__(self, application: ASGIApp) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="on", server_header=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server has ended")
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request; underscores in names of headers stand for hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): text for name, text in response.getheaders()}, response.read()
            )
        finally:
            connection.close()
