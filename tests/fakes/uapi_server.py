"""A UAPI server on a real Unix socket, in a thread, with a fake daemon behind it."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

from tests.fakes.uapi_daemons import Closed, Panicked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.uapi_daemons import WireguardGo

END = b"\n\n"


class UapiServer:
    """Serves ``daemon`` at ``path``. Use as a context manager.

    ``requests`` holds what was asked, in order. After ``freeze`` the daemon is as if stopped: it takes
    connections and says nothing, until ``thaw``.
    """

    def __init__(self, path: Path, daemon: WireguardGo, *, backlog: int = 128) -> None:
        self.path = path
        self.daemon = daemon
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._awake = threading.Event()
        self._awake.set()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(backlog)

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._awake.set()
        # A listener that is shut down lets its accept go.
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "the fake daemon does not end"
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def freeze(self) -> None:
        """Stop answering."""
        self._awake.clear()

    def thaw(self) -> None:
        """Answer again, what was asked meanwhile included."""
        self._awake.set()

    def _run(self, target: object, *arguments: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            self._awake.wait()
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            if self._closing.is_set():
                connection.close()
                return
            if not self.daemon.serial:
                self._run(self._serve, connection)
            elif not self._exchange(connection):
                connection.close()
            elif self.daemon.one_request:
                self._run(self._reset, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while self._exchange(connection):
                pass

    def _exchange(self, connection: socket.socket) -> bool:
        """One request and its answer; false when the connection is over."""
        request = b""
        while not request.endswith(END):
            with contextlib.suppress(ConnectionError):
                chunk = connection.recv(1 << 20)
                if chunk:
                    request += chunk
                    continue
            return False
        text = request.removesuffix(END).decode("ascii")
        self._awake.wait()
        try:
            with self._lock:
                self.requests.append(text)
                answer = self.daemon.answer(text)
            connection.sendall(answer.encode() + b"\n")
        except Panicked:
            connection.close()
            # For good: nobody is accepted or answered any more.
            self._closing.wait()
            return False
        except (Closed, ConnectionError):
            return False
        return True

    @staticmethod
    def _reset(connection: socket.socket) -> None:
        """Wait for a second request and close over it unread, which resets the connection."""
        with connection, contextlib.suppress(ConnectionError):
            connection.recv(1, socket.MSG_PEEK)
