"""gunicorn's threaded worker, patient with slow clients but not endlessly, and without HTML."""

from __future__ import annotations

import contextlib
import json
import socket
import time

from gunicorn import util
from gunicorn.http import unreader
from gunicorn.workers import gthread

PATIENCE = 60.0
"""Seconds that a client may be silent, in either direction, before its connection is closed."""

LINGER = 10.0
"""Seconds for which the rest of a refused upload is read and thrown away."""

READ_AHEAD = 64 << 10
"""Bytes of a body that are read at once. gunicorn's 1 MiB, times the threads, is more than the service may take."""

_QUIET = 2.0
"""Seconds of silence that end the lingering."""


class Connection(gthread.TConn):
    """A connection that does not hold its thread for ever."""

    def init(self) -> None:
        """Called in the thread before each request."""
        super().init()
        self.sock.settimeout(PATIENCE)

    def close(self, graceful: bool = False) -> None:
        """Close at once: the lingering, for which gunicorn would stop its main loop, is done in the thread."""
        super().close(graceful=False)


class Worker(gthread.ThreadWorker):
    """Lets a client that is still sending read why it was refused."""

    def handle(self, conn: gthread.TConn) -> bool:
        """Serve one request; what is returned is gunicorn's."""
        outcome = super().handle(conn)
        if outcome is False:
            linger(conn.sock)
        return outcome


def linger(connection: socket.socket) -> None:
    """Say that nothing more comes, and wait for the client to have read all: closing with bytes unread resets it."""
    deadline = time.monotonic() + LINGER
    rest = bytearray(64 << 10)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_QUIET)
        while connection.recv_into(rest) and time.monotonic() < deadline:
            pass


def write_error(sock: socket.socket, status_int: int, reason: str, mesg: str) -> None:
    """The answer to what is no HTTP, gunicorn's own being HTML."""
    body = json.dumps({"detail": mesg or reason}).encode()
    head = (
        f"HTTP/1.1 {status_int} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)


# gunicorn has no setting for these three, and finds them by their names in its modules.
unreader.SocketUnreader.max_body_chunk = READ_AHEAD  # type: ignore[attr-defined]
gthread.TConn = Connection  # type: ignore[misc]
util.write_error = write_error
