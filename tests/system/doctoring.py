"""Running the doctor of a hub or a component of the lab."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from lab.consortium import Hub, script
from lab.network import wait_until
from tests.registry.snapshot import secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.consortium import Component
    from lab.network import Host


class Said(NamedTuple):
    """What a check says."""

    state: str
    message: str


def doctor(owner: Hub | Component, prefix: Sequence[str] = ()) -> dict[str, Said]:
    """What its doctor finds, by check."""
    name = "vpn_server" if isinstance(owner, Hub) else "vpn_client"
    done = owner.host.run([*prefix, *script(name), "doctor", "--json"], check=False)
    assert done.stderr == ""
    items = json.loads(done.stdout)
    found = {item["check"]: Said(item["state"], item["message"]) for item in items}
    assert len(found) == len(items)
    assert done.returncode == int(any(said.state == "failed" for said in found.values()))
    assert all(said.message.isprintable() for said in found.values())
    assert not any("does not understand" in said.message for said in found.values()), found
    assert not [secret for secret in secrets(owner.folder) if secret in done.stdout]
    return found


def wait_for(owner: Hub | Component, check: str, state: str, saying: str = "", seconds: float = 60) -> Said:
    """Ask until a check ends so, and return what it says; it has to hold ``saying``."""
    last: dict[str, Said] = {}

    def so() -> bool:
        last.update(doctor(owner))
        return check in last and last[check].state == state and saying in last[check].message

    try:
        wait_until(so, seconds, f"{check} {state}")
    except TimeoutError as error:
        raise AssertionError(f"{check} is never {state}, saying {saying!r}: {last.get(check)}") from error
    return last[check]


def failures(found: dict[str, Said]) -> dict[str, Said]:
    """What is neither well nor skipped."""
    return {check: said for check, said in found.items() if said.state in ("failed", "warning")}


def uapi(host: Host) -> Path:
    """The socket of the host's WireGuard daemon, from outside."""
    return Path(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")


class Answering:
    """A socket that gives one answer, whatever it is asked. Use as a context manager."""

    def __init__(self, path: Path, answer: str) -> None:
        self._answer = f"{answer}\n\n".encode()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # it was shut down
            with connection:
                connection.recv(4096)
                connection.sendall(self._answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
