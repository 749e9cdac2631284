"""Serving applications on their addresses, in one process, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import uvicorn

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence

    from starlette.types import ASGIApp

CONNECTIONS = 1000
"""Of one listener at the same time; more are answered with 503."""

PATIENCE = 1.0
"""Seconds that requests have to end after SIGTERM."""


class Listener(NamedTuple):
    """An application and the TCP address that it is served on."""

    host: str
    port: int
    app: ASGIApp


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``run``, which ends all servers together."""
        yield


def run(listeners: Sequence[Listener], log: logging.Logger) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises OSError for an address that cannot be listened on."""
    sockets = [listen(listener) for listener in listeners]
    for listener in listeners:
        log.info("listening on %s port %d", listener.host, listener.port)
    asyncio.run(_serve(listeners, sockets))
    return 0


def listen(listener: Listener) -> socket.socket:
    """A listening socket. The address need not be there: the interface may be made anew (ip(7), IP_FREEBIND)."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Python has no name for IP_FREEBIND.
        made.setsockopt(socket.IPPROTO_IP, 15, 1)
        made.bind((listener.host, listener.port))
        made.listen(512)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


async def _serve(listeners: Sequence[Listener], sockets: Sequence[socket.socket]) -> None:
    servers = [
        _Server(
            uvicorn.Config(
                listener.app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=int(PATIENCE),
            )
        )
        for listener in listeners
    ]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve([made]) for server, made in zip(servers, sockets, strict=True)))
