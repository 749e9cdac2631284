"""The real service as a process, and callers at several addresses of this machine's loopback."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PACKAGE = Path(__file__).resolve().parents[2] / "docker" / "restful"
ADDRESS = "127.0.0.1"
BOUNDARY = "6d0b3cf6a4b24cb9b6bfb2d9a5d6e5f1"
DEADLINE = 60.0
"""Seconds after which something that should have come will not come any more."""

_CALLERS = itertools.count(2)


def another_caller() -> str:
    """An address that no other test calls from."""
    high, low = divmod(next(_CALLERS), 250)
    return f"127.{os.getpid() % 250 + 1}.{high}.{low + 1}"


def eventually(is_so: Callable[[], object], what: str) -> None:
    """Wait until it is so. Raises AssertionError when it is not within the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is more than an entry that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.create_server((ADDRESS, 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Answer(NamedTuple):
    """A response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """The one line that an error says."""
        assert self.headers["Content-Type"] == "application/json"
        assert b"\n" not in self.body
        assert set(self.json) == {"detail"}
        line: str = self.json["detail"]
        return line


def part(content: bytes, name: str | None = "model.bin", field: str = "file") -> bytes:
    """One part of a form: a file, or without ``name`` a plain field."""
    filename = "" if name is None else f'; filename="{name}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{filename}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole body."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


FORM_TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Service:
    """``python -m uploads`` over ``folder``; ended, with all that it started, at the end of the context."""

    def __init__(self, folder: Path, as_user: int | None = None, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder.with_name(folder.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None
        self._privileges: list[str] = []
        if as_user is not None:
            # It may read and enter everything, as the interpreter can be in a home; and write nothing of others.
            only = "-all,+dac_read_search"
            ids = (f"--reuid={as_user}", f"--regid={as_user}", "--clear-groups")
            self._privileges = ["setpriv", *ids, f"--inh-caps={only}", f"--ambient-caps={only}"]
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "VPN_IP": ADDRESS,
            "UPLOADS_PORT": str(self.port),
            "UPLOADS_FOLDER": str(folder),
            **settings,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._privileges, sys.executable, "-m", "uploads"],
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        return self.process

    def start(self) -> None:
        """Start it and wait until it answers."""
        process = self.spawn()
        eventually(lambda: process.poll() is not None or self.is_healthy(), "the service answers")
        assert process.poll() is None, self.log.read_text()

    def is_healthy(self) -> bool:
        try:
            return self.request("GET", "/health/").status == 200
        except OSError:
            return False

    def pids(self) -> list[int]:
        """gunicorn and its workers."""
        assert self.process is not None
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def resident(self) -> int:
        """Bytes of memory of all processes together."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if self.process is None or self.process.poll() is not None:
            return
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        eventually(lambda: not any(map(runs, pids)), "the workers are gone")

    def connect(self, caller: str = ADDRESS) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(ADDRESS, self.port, timeout=DEADLINE, source_address=(caller, 0))

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        caller: str = ADDRESS,
    ) -> Answer:
        """One request on a connection of its own; ``path`` may be a whole address, as answers give it."""
        with contextlib.closing(self.connect(caller)) as connection:
            path = path.removeprefix(f"http://{ADDRESS}:{self.port}")
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def post(self, body: bytes, caller: str = ADDRESS) -> Answer:
        return self.request("POST", "/upload/", body, FORM_TYPE, caller)

    def upload(self, content: bytes, name: str = "model.bin", caller: str = ADDRESS) -> Answer:
        return self.post(form(part(content, name)), caller)

    def listed(self, caller: str = ADDRESS) -> list[Any]:
        answer = self.request("GET", "/upload/", caller=caller)
        assert answer.status == 200
        uploads: list[Any] = answer.json
        return uploads

    def begin(self, body: bytes, length: int, caller: str = ADDRESS) -> socket.socket:
        """An upload of ``length`` bytes of which no more than ``body`` is sent yet."""
        connection = socket.create_connection((ADDRESS, self.port), DEADLINE, (caller, 0))
        head = (
            f"POST /upload/ HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Length: {length}\r\n"
            f"Content-Type: {FORM_TYPE['Content-Type']}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        return connection

    def stored(self) -> set[str]:
        """The names in the storage folder, whole and half-written."""
        return set(os.listdir(self.folder / "files"))

    def partials(self) -> set[str]:
        return {name for name in self.stored() if name.startswith(".")}
