"""How long components are away when the hub restarts, or its WireGuard daemon dies or hangs. Needs root.

``python -m benchmarks.recovery``: tables, about three minutes. ``--long`` adds a hub that is away for five
minutes. ``--clients N`` is the size of the large fleet; ``--bare`` makes that of WireGuard daemons alone,
without the component's own, where the machine cannot run so many. Of wireguard-go no more than about 100 run
with the usual ``fs.inotify.max_user_instances``.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lab.consortium import Component, Consortium, kill
from lab.network import wait_until
from vpn.lib.component import settings as component_settings
from vpn.lib.component.identity import load_or_make
from vpn.lib.errors import DeviceError
from vpn.lib.hub import settings as hub_settings
from vpn.lib.hub.service import Hub as Service
from vpn.lib.registry.peer import parse_name, parse_type
from vpn.lib.wireguard.daemons import DAEMONS
from vpn.lib.wireguard.plan import plan
from vpn.lib.wireguard.types import Endpoint, WantedDevice, WantedPeer
from vpn.lib.wireguard.userspace import UserspaceDevice

if TYPE_CHECKING:
    import subprocess

    from lab.network import Host

SMALL = 20
PATIENCE = 120
AWAY = 300
"""Seconds; a client of boringtun has given up after 90."""


class Row(NamedTuple):
    """A line of the table: seconds until the last and until the middle one of the clients was back."""

    what: str
    clients: str
    last: float
    middle: float
    limit: float


def device(host: Host, daemon: str) -> UserspaceDevice:
    """The wg0 of a host, from outside of it."""
    path = f"/proc/{host.pid}/root/run/wireguard/wg0.sock"
    return UserspaceDevice("wg0", DAEMONS[daemon].dialect, path=path)


def answers(host: Host, daemon: str) -> bool:
    """Whether a host's wg0 answers."""
    try:
        device(host, daemon).read()
    except DeviceError:
        return False
    return True


class Fleet:
    """Enrolled and joined components of one hub, all over one WireGuard daemon."""

    def __init__(self, consortium: Consortium, count: int, daemon: str, *, bare: bool = False) -> None:
        self.consortium = consortium
        self.hub = consortium.hub
        self.daemon = daemon
        self.label = f"{count} {'bare ' if bare else ''}{daemon}"
        self.components = [consortium.component(f"node{number}") for number in range(count)]
        self._enrol()
        self.hub.start()
        for component in self.components:
            if bare:
                self._start_bare(component)
            else:
                component.start()
        wait_until(lambda: self.back() == count, PATIENCE, f"{count} clients join")
        wait_until(lambda: self.hub.remembers(count), PATIENCE, "their endpoints are saved")

    def _enrol(self) -> None:
        """Through the library, in one batch: 200 times three scripts would be most of the time."""
        settings = hub_settings.load({"VPN_CONFIG_DIR": str(self.hub.folder)})
        names = [parse_name(parse_type("node"), component.host.name) for component in self.components]
        keys = {
            name: load_or_make(component.folder, None).public_key()
            for name, component in zip(names, self.components, strict=True)
        }
        with Service(settings, device(self.hub.host, self.daemon)) as service:
            service.genconf_all(names, keys)
            for name, component in zip(names, self.components, strict=True):
                (component.folder / "config.env").write_bytes(service.config_path(name).read_bytes())

    def _start_bare(self, component: Component) -> None:
        made = DAEMONS[self.daemon]
        component.host.start([made.programs[0], *made.arguments, "wg0"], environ=dict(made.environment))
        wait_until(lambda: answers(component.host, self.daemon), 10, "the daemon answers", pause=0.002)
        settings = component_settings.load(component.folder, {})
        endpoint = Endpoint(ip_address(settings.hub_host), settings.hub_port)
        peer = WantedPeer(settings.hub_key, settings.preshared_key, settings.allowed_ips, endpoint, 25)
        wanted = WantedDevice(load_or_make(component.folder, None), 0, {settings.hub_key: peer})
        own = device(component.host, self.daemon)
        own.apply(plan(wanted, own.read()))
        script = f"address add {settings.address} dev wg0\nlink set wg0 mtu 1420 up"
        component.host.run(["ip", "-batch", "-"], input=script)
        # A daemon has its first handshake when there is something to send.
        component.host.run(["bash", "-c", f"echo > /dev/udp/{settings.hub_address}/9"])

    def back(self) -> int:
        """How many have a session with the hub's present daemon: looked at, without a packet."""
        try:
            peers = device(self.hub.host, self.daemon).read().peers.values()
        except DeviceError:
            return 0
        return sum(peer.latest_handshake is not None and peer.received > 0 for peer in peers)

    def quiet_return(self, what: str, since: float, limit: float) -> Row:
        """Wait until all are back without traffic of ours; seconds are counted from ``since``."""
        count, moments = len(self.components), dict[int, float]()

        def all_back() -> bool:
            for number in range(self.back()):
                moments.setdefault(number, time.time() - since)
            return len(moments) == count

        wait_until(all_back, PATIENCE, "all are back")
        ordered = sorted(moments.values())
        return Row(what, self.label, ordered[-1], ordered[count // 2], limit)


class Pings:
    """Every component pings the hub all the time: what its users would notice."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._logs = [c.folder.with_name(f"{c.host.name}.ping") for c in fleet.components]
        self._processes: list[subprocess.Popen[bytes]] = [
            component.host.start(["ping", "-n", "-D", "-i", "0.1", "10.220.0.1"], log=log)
            for component, log in zip(fleet.components, self._logs, strict=True)
        ]
        wait_until(lambda: all(self._first_after(log, 0) for log in self._logs), PATIENCE, "all pings are answered")

    def _first_after(self, log: Path, moment: float) -> float | None:
        for found in re.finditer(r"^\[([\d.]+)\] \d+ bytes from", log.read_text(), re.MULTILINE):
            if float(found[1]) > moment:
                return float(found[1])
        return None

    def returned(self, what: str, cut: float, since: float, limit: float) -> Row:
        """Wait until everybody has an answer from after ``cut``; seconds are counted from ``since``."""
        # What was answered before the cut may be printed shortly after it.
        wait_until(lambda: all(self._first_after(log, cut + 0.05) for log in self._logs), PATIENCE, "all are answered")
        moments = sorted(max(0.0, (self._first_after(log, cut + 0.05) or 0) - since) for log in self._logs)
        return Row(what, self._fleet.label, moments[-1], moments[len(moments) // 2], limit)

    def stop(self) -> None:
        """End the pings."""
        for process in self._processes:
            process.kill()
            process.wait()


def small_fleet(folder: Path, daemon: str, *, long: bool) -> list[Row]:
    """Twenty real components."""
    rows = []
    with Consortium(folder, daemon) as consortium:
        fleet = Fleet(consortium, SMALL, daemon)
        pings = Pings(fleet)
        for what, number, limit in (("killed", signal.SIGKILL, 2), ("hung (SIGSTOP)", signal.SIGSTOP, 10)):
            cut = time.time()
            kill(consortium.hub.daemon_pid(), number)
            rows.append(pings.returned(f"the hub's {daemon} is {what}", cut, cut, limit))
            wait_until(lambda: consortium.hub.remembers(SMALL), PATIENCE, "their endpoints are saved")
        consortium.hub.stop()
        cut = time.time()
        consortium.hub.start()
        rows.append(pings.returned("the hub is stopped and started", cut, time.time(), 1))
        pings.stop()
        if long:
            consortium.hub.stop()
            time.sleep(AWAY)
            consortium.hub.start()
            rows.append(fleet.quiet_return(f"the hub was away for {AWAY} s, no traffic", time.time(), 10))
    return rows


def large_fleet(folder: Path, count: int, daemon: str, *, bare: bool) -> list[Row]:
    """Many clients, and a hub that is started again."""
    with Consortium(folder, daemon) as consortium:
        fleet = Fleet(consortium, count, daemon, bare=bare)
        consortium.hub.stop()
        consortium.hub.start()
        return [fleet.quiet_return("the hub is stopped and started, no traffic", time.time(), 5)]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--clients", type=int, default=200, help="of the large fleet, 0 for none")
    parser.add_argument("--bare", action="store_true", help="the large fleet as WireGuard daemons alone")
    parser.add_argument("--long", action="store_true", help="a hub that is away for five minutes, too")
    parser.add_argument("--daemon", action="append", choices=sorted(DAEMONS), help="boringtun; may be repeated")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("benchmarks.recovery makes network namespaces: run it as root", file=sys.stderr)
        return 1
    print(
        "| event | clients | the last is back after (s) | the middle one | limit |\n|---|---|---|---|---|", flush=True
    )
    for daemon in arguments.daemon or ["boringtun"]:
        with tempfile.TemporaryDirectory(prefix="vpn-bench-") as folder:
            report(small_fleet(Path(folder) / "small", daemon, long=arguments.long))
            if arguments.clients:
                report(large_fleet(Path(folder) / "large", arguments.clients, daemon, bare=arguments.bare))
    return 0


def report(rows: list[Row]) -> None:
    """Lines of the table."""
    for row in rows:
        print(f"| {row.what} | {row.clients} | {row.last:.2f} | {row.middle:.2f} | {row.limit:g} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
