"""A hub and its components as processes on the hosts of a lab network, run as their users run them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lab.network import Host, Network, end, patience, wait_until
from vpn.lib.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools" / "bin"


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the project's WireGuard daemons on the PATH, without VPN settings."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("VPN_", "CONTAINER_", "WG_"))
    }
    # nft and mosquitto are in sbin, which `su` leaves out.
    path = f"{TOOLS}:{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return {**inherited, "PATH": path, **more}


def script(name: str) -> list[str]:
    """The command line of one of ``vpn/bin``."""
    return [sys.executable, str(ROOT / "vpn" / "bin" / f"{name}.py")]


class Hub:
    """``vpn_server.py`` on a host, with ``configure_peer.py`` beside it."""

    def __init__(self, network: Network, folder: Path, wireguard: str = "boringtun", **settings: str) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.host = network.host("hub", environment(VPN_CONFIG_DIR=str(folder), VPN_WIREGUARD=wireguard))
        self.address = self.host.run(["ip", "-4", "-brief", "address", "show", "eth0"]).stdout.split()[2].split("/")[0]
        values = {"VPN_SERVER_PUBLIC_ADDR": self.address, **settings}
        (folder / "config.env").write_text("".join(f"export {name}={value}\n" for name, value in values.items()))
        self.log = folder.with_name("hub.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, prefix: Sequence[str] = (), *, command: Sequence[str] | None = None, wait: float = 20) -> float:
        """Start the daemon and wait until it is ready; the seconds until then."""
        before = self.log.read_text().count(" ready: ") if self.log.exists() else 0
        self.process = self.host.start([*prefix, *(command or script("vpn_server"))], log=self.log)
        return wait_until(
            lambda: self.log.read_text().count(" ready: ") > before or self._ended(),
            wait,
            "the hub is ready",
            pause=0.005,
        )

    def _ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the hub ended: {self.log.read_text()}")
        return False

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(patience(10))

    def configure(
        self,
        *arguments: str,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - as subprocess names it
    ) -> subprocess.CompletedProcess[str]:
        """Run ``configure_peer.py``."""
        return self.host.run([*script("configure_peer"), *arguments], check=check, input=input)

    def peers(self) -> dict[str, dict[str, Any]]:
        """``list --json`` by id."""
        return {peer["id"]: peer for peer in json.loads(self.configure("list", "--json").stdout)}

    def remembers(self, count: int) -> bool:
        """Whether at least so many endpoints are saved: then the hub can speak first after a restart."""
        registry = SqliteRegistry(self.folder / "ip_assign" / "registry.db")
        try:
            return len(registry.endpoints()) >= count
        finally:
            registry.close()

    def daemon_pid(self) -> int:
        """The process id of the WireGuard daemon that the hub runs; 0 while there is none."""
        assert self.process is not None
        return child_daemon(self.process.pid)


class Component:
    """``vpn_client.py run`` on a host of its own."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        wireguard: str = "boringtun",
    ) -> None:
        self.host = host
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.host.environ.update(environment(VPN_CONFIG_DIR=str(folder), VPN_WIREGUARD=wireguard))
        self.log = folder.with_name(f"{folder.name}.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, *application: str, environ: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start the daemon, with an application if one is given, by another program if one is given."""
        command = [*prefix, *script("vpn_client"), "run", *(("--", *application) if application else ())]
        self.process = self.host.start(command, log=self.log, environ=environ)
        return self.process

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        end(self.process)
        return self.process.returncode

    def public_key(self) -> str:
        """What ``vpn_client.py public-key`` prints."""
        return self.host.run([*script("vpn_client"), "public-key"]).stdout.strip()

    def receive_config(self, hub: Hub, peer_type: str, peer_id: str) -> None:
        """The config.env: genconf on the hub, and the file brought here."""
        hub.configure("genconf", peer_type, peer_id)
        shutil.copy(hub.folder / "config_peers" / peer_type / peer_id / "config.env", self.folder / "config.env")

    def enrol(self, hub: Hub, peer_type: str, peer_id: str) -> None:
        """The procedure but for the start: genconf, copy, public-key, add.

        A component that is added before it starts joins with its first handshake; one that starts first has
        to wait for its next try, up to 5 s.
        """
        self.receive_config(hub, peer_type, peer_id)
        hub.configure("add", peer_type, peer_id, self.public_key())

    def ping(self, address: str = "10.220.0.1", *, deadline: float = 1) -> bool:
        """Whether one echo is answered within ``deadline`` seconds."""
        done = self.host.run(["ping", "-n", "-q", "-c", "1", "-W", f"{deadline:g}", address], check=False)
        return done.returncode == 0

    def wait_joined(self, seconds: float = 20, address: str = "10.220.0.1") -> float:
        """Wait until the hub answers a ping through the tunnel; the seconds that it took."""
        return wait_until(lambda: self.ping(address, deadline=0.2), seconds, f"{self.host.name} joins")

    def daemon_pid(self) -> int:
        """The process id of the WireGuard daemon that the component runs; 0 while there is none."""
        assert self.process is not None
        return child_daemon(self.process.pid)


class Consortium:
    """A hub and its components in a network of their own. Use as a context manager."""

    def __init__(self, folder: Path, wireguard: str = "boringtun", **settings: str) -> None:
        self._folder = folder
        self._wireguard = wireguard
        self.network = Network(environment())
        self.hub = Hub(self.network, folder / "hub", wireguard, **settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.network.close()

    def component(self, peer_id: str, *, nat: bool = False, wireguard: str | None = None) -> Component:
        """A component on a host of its own, neither enrolled nor started."""
        host = self.network.nat_host(peer_id)[0] if nat else self.network.host(peer_id)
        return Component(host, self._folder / peer_id, wireguard or self._wireguard)

    def joined(self, peer_type: str, peer_id: str, *application: str, nat: bool = False) -> Component:
        """A component that has joined."""
        component = self.component(peer_id, nat=nat)
        component.enrol(self.hub, peer_type, peer_id)
        component.start(*application)
        component.wait_joined()
        return component


def child_daemon(pid: int) -> int:
    """The WireGuard daemon among the children of a process, 0 for none."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError):
            name = Path(f"/proc/{child}/comm").read_text().strip()
            if name.startswith(("boringtun", "gotatun", "wireguard-go")):
                return int(child)
    return 0


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that this lab started."""
    assert pid > 1
    os.kill(pid, number)
