"""What gunicorn's worker does differently here."""

from __future__ import annotations

import socket
import threading

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from tests.uploads.service import ADDRESS
from uploads import worker


def test_gunicorn_uses_it() -> None:
    assert gthread.TConn is worker.Connection
    assert util.write_error is worker.write_error
    assert vars(SocketUnreader)["max_body_chunk"] == worker.READ_AHEAD


def test_no_client_holds_a_thread_for_ever() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = worker.Connection(Config(), ours, (ADDRESS, 1), (ADDRESS, 2))
        for _ in range(2):  # for each request on the connection
            connection.sock.setblocking(True)
            connection.init()
            assert connection.sock.gettimeout() == worker.PATIENCE


def test_what_a_refused_client_still_sends_is_taken_until_it_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lingering = threading.Thread(target=worker.linger, args=(ours,))
        lingering.start()
        theirs.sendall(bytes(5 << 20))
        assert theirs.recv(1) == b""
        theirs.shutdown(socket.SHUT_WR)
        lingering.join()


def test_lingering_on_a_connection_that_is_gone_is_harmless() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    worker.linger(ours)
