"""Secrets stay where they belong: in no argument, no log, and no file that others may read."""

from __future__ import annotations

import base64
import re
import signal
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from lab.consortium import kill
from lab.network import wait_until

if TYPE_CHECKING:
    from lab.consortium import Component, Consortium

pytestmark = pytest.mark.system


def forms(secret: str) -> list[bytes]:
    """A key in the ways in which it may be written."""
    return [secret.encode(), base64.b64decode(secret).hex().encode(), base64.b64decode(secret)]


def secrets_of(consortium: Consortium, components: list[Component]) -> list[bytes]:
    """The hub's private key, the components' private keys, and every preshared key."""
    conf = (consortium.hub.folder / "wireguard" / "wg0.conf").read_text()
    found = re.findall(r"^(?:PrivateKey|PresharedKey) = (\S+)$", conf, re.MULTILINE)
    assert len(found) == 1 + len(components)
    found += [(component.folder / "wireguard" / "private.key").read_text().strip() for component in components]
    return [form for secret in found for form in forms(secret)]


class Watcher:
    """Collects the arguments of all processes of a network, again and again."""

    def __init__(self, consortium: Consortium) -> None:
        self._network = consortium.network
        self._stop = threading.Event()
        self.seen: set[bytes] = set()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            for pid in self._network.pids():
                try:
                    self.seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                except OSError:
                    continue


def test_no_secret_is_in_an_argument_or_a_log_and_no_file_is_open_to_others(consortium: Consortium) -> None:
    hub = consortium.hub
    with Watcher(consortium) as watcher:
        components = [consortium.joined("management", "mqtt"), consortium.joined("node", "node1")]
        wait_until(lambda: hub.remembers(2), 40, "the hub has saved where its peers are")
        kill(hub.daemon_pid())
        components[0].wait_joined(40)
        kill(components[1].daemon_pid(), signal.SIGSTOP)
        wait_until(lambda: "replacing it" in components[1].log.read_text(), 40, "the component replaces its daemon")
        printed = [hub.configure(*arguments).stdout for arguments in (["list"], ["show", "node", "node1"])]
        hub.stop()
        hub.start()
        components[1].wait_joined(40)
    conf = hub.folder / "wireguard" / "wg0.conf"
    wait_until(lambda: conf.exists() and conf.read_text().count("[Peer]") == 2, 40, "wg0.conf is written")
    secrets = secrets_of(consortium, components)

    arguments = b"\n".join(watcher.seen)
    assert b"vpn_server.py" in arguments
    assert b"boringtun-cli" in arguments
    assert b"configure_peer.py" in arguments
    logs = b"".join(log.read_bytes() for log in (hub.log, *(component.log for component in components)))
    assert b"ready: " in logs
    for place in (arguments, logs, "".join(printed).encode()):
        assert not [secret for secret in secrets if secret in place]

    wide = [
        (path, oct(path.lstat().st_mode))
        for folder in (hub.folder, *(component.folder for component in components))
        for path in folder.rglob("*")
        # The hub's own config.env is its keeper's, and holds no secret.
        if path != hub.folder / "config.env" and stat.S_IMODE(path.lstat().st_mode) & 0o077
    ]
    assert wide == []
    own = (hub.folder / "config.env").read_bytes()
    assert not [secret for secret in secrets if secret in own]
