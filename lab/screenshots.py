"""``python -m lab.screenshots``: the pictures of the hub's page in docs/monitoring, of a made-up consortium."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from lab.browser import Browser
from lab.consortium import ROOT
from lab.served import Served
from vpn.lib.hub import counters, life, policy_file, settings as hub_settings, status
from vpn.lib.hub.service import Hub
from vpn.lib.hub.status import Status
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.serving import history, page, reading
from vpn.lib.version import VERSION
from vpn.lib.wireguard.keys import PublicKey
from vpn.lib.wireguard.types import Endpoint, ObservedDevice, ObservedPeer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vpn.lib.hub.settings import Settings
    from vpn.lib.wireguard.plan import Plan
    from vpn.lib.wireguard.types import WantedPeer

FOLDER = ROOT / "docs" / "monitoring"
TOKEN = "screenshots" * 4

COMPONENTS = {
    PeerType.MANAGEMENT: ["mqtt", "restful", "monitoring"],
    PeerType.NODE: [
        "amsterdam-umc",
        "bordeaux",
        "chu-lille",
        "gustave-roussy",
        "hug-geneve",
        "karolinska",
        "lyon-berard",
        "nantes",
        "oslo",
        "ucl-london",
    ],
    PeerType.RESEARCHER: ["anna", "inria-epione"],
}
GONE, KEYLESS = {"lyon-berard": 25, "anna": 400}, {"oslo"}
"""Since how many looks somebody has been away, and who has no key yet."""

SHAPES = (
    ("page-light", "light", "/", 1100, 760),
    ("page-dark", "dark", "/", 1100, 760),
    ("page-narrow", "light", "/", 400, 760),
)
DENIED = {"node_to_node": (12, 720), "node_to_hub": (3, 180), "spoofed_to_any": (0, 0)}


class Device:
    """wg0 as it might be. Each look at it comes ten seconds after the one before."""

    interface = "wg0"

    def __init__(self, names: Mapping[PublicKey, str]) -> None:
        self.names = names
        self.looks = 0
        self.public_key: PublicKey | None = None

    def read(self) -> ObservedDevice:
        """All peers, each with its handshakes."""
        self.looks = min(self.looks + 1, history.POINTS)
        if self.looks == history.POINTS:
            history.EVERY = 3600.0  # that is a whole line
        peers = {key: self._peer(key, number) for number, key in enumerate(self.names)}
        return ObservedDevice(self.public_key, 51820, peers)

    def _peer(self, key: PublicKey, number: int) -> ObservedPeer:
        away = GONE.get(self.names[key], 0) + self.looks - history.POINTS
        age = (10 * self.looks + 37 * number) % (120 + number % 3)
        if self.names[key] in GONE and away > 0:
            age += 10 * away
        size = int(1e6 * math.exp(number % 7))
        endpoint = Endpoint(ip_address(f"198.51.100.{10 + number}"), 40000 + 517 * number)
        return ObservedPeer(key, None, frozenset(), endpoint, 25, time.time() - age, size, size // 3)

    def holds(self, public_key: PublicKey) -> bool:
        """As it was told."""
        return public_key in self.names

    def apply(self, plan: Plan) -> None:
        """It is as it is."""

    def add(self, peers: Iterable[WantedPeer]) -> None:
        """It is as it is."""


def programs(folder: Path) -> dict[str, str]:
    """An environment whose nft prints what was denied."""
    listed = [{"counter": {"name": name, "packets": some, "bytes": size}} for name, (some, size) in DENIED.items()]
    (folder / "counters").write_text(json.dumps({"nftables": listed}))
    (folder / "nft").write_text(f"#!/bin/sh\nexec /bin/cat {folder}/counters\n")
    (folder / "nft").chmod(0o755)
    return {"PATH": str(folder)}


def consortium(settings: Settings) -> Device:
    """Everybody registered; wg0 to go with it."""
    names = [PeerName(kind, peer_id) for kind, ids in COMPONENTS.items() for peer_id in ids]
    keys = {
        name: PublicKey(bytes([number + 1, *range(31)])) for number, name in enumerate(names) if name.id not in KEYLESS
    }
    device = Device({key: name.id for name, key in keys.items()})
    with Hub(settings, device, command="genconf") as hub:
        hub.genconf_all(names, keys)
        for number, name in enumerate(keys):
            life.note_version(hub, name, VERSION if number % 4 else "0.0.9")
        device.public_key = hub.public_key()
    return device


def take(settings: Settings, environ: Mapping[str, str], folder: Path) -> None:
    """The pictures."""
    with (
        Served(page.application(settings, environ, TOKEN, lambda: ())) as served,
        Browser(folder / "profile") as browser,
    ):
        tab = browser.tab()
        url = f"http://127.0.0.1:{served.port}"
        tab.go(f"{url}/?token={TOKEN}")
        tab.wait("document.querySelector('tr.active polyline')?.points[0].x === 0", 60)
        for name, scheme, path, width, height in SHAPES:
            tab.look(scheme, width, height)
            tab.go(url + path)
            (FOLDER / f"{name}.png").write_bytes(tab.picture())
        if complaints := tab.complaints():
            raise RuntimeError("; ".join(complaints))


def main() -> int:
    """Entry point."""
    with tempfile.TemporaryDirectory(prefix="vpn-screenshots-") as made:
        folder = Path(made)
        (folder / "state").mkdir()
        (folder / "programs").mkdir()
        environ = {"VPN_CONFIG_DIR": str(folder / "state"), "VPN_SERVER_PUBLIC_ADDR": "vpn.example.org"}
        settings = hub_settings.load({**environ, "VPN_PAGE": "127.0.0.1:8080"})
        device = consortium(settings)
        status.open_device = lambda _: device  # type: ignore[assignment]
        history.EVERY, reading.KEPT = 0.02, 0.0
        with (settings.folder / "wireguard" / "daemon.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            status.save(settings, Status("boringtun", ""))
            policy_file.keep(settings, policy_file.read(settings))
            with counters.counting(settings, logging.getLogger("screenshots")):
                take(settings, programs(folder / "programs"), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
