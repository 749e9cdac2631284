"""Serving applications on their addresses, in one process, until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.types import ASGIApp

CONNECTIONS = 1000
"""Of one listener at the same time; more are answered with 503."""

PATIENCE = 1.0
"""Seconds that requests have to end after SIGTERM."""


RETRY = 5.0
"""Seconds until an address that could not be listened on is tried again."""


class Listener(NamedTuple):
    """An application and the TCP address that it is served on.

    With ``early``, the address need not be there yet: the interface that has it may be made anew.
    """

    host: str
    port: int
    app: ASGIApp
    early: bool = False


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``run``, which ends all servers together."""
        yield


def run(listeners: Sequence[Listener], log: logging.Logger) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. An address that cannot be listened on is tried again."""
    # What strangers send that is no HTTP is no news.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    asyncio.run(_Servers(log).serve(listeners))
    return 0


def listen(listener: Listener) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.early:
            # Python has no name for IP_FREEBIND, ip(7).
            made.setsockopt(socket.IPPROTO_IP, 15, 1)
        made.bind((listener.host, listener.port))
        made.listen(512)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


class _Servers:
    """All servers, which end together."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._servers: list[_Server] = []
        self._ending = asyncio.Event()

    async def serve(self, listeners: Sequence[Listener]) -> None:
        """Serve all of them until a signal comes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        await asyncio.gather(*map(self._serve_one, listeners))

    def _end(self) -> None:
        self._ending.set()
        for server in self._servers:
            server.should_exit = True

    async def _serve_one(self, listener: Listener) -> None:
        """One that cannot be served must not keep the others from it."""
        place, said = f"{listener.host} port {listener.port}", ""
        while not self._ending.is_set():
            try:
                made = listen(listener)
            except OSError as error:
                line = f"cannot listen on {place}: {error.strerror}"
                if line != said:
                    self._log.error("%s; trying again", line, extra={"event": "serving-failed"})
                said = line
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), RETRY)
                continue
            self._log.info("listening on %s", place)
            server = _Server(_config(listener.app))
            self._servers.append(server)
            await server.serve([made])
            return


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(PATIENCE),
    )
