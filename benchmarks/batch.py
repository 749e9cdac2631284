"""Register and add nodes through the library in one batch: ``python -m benchmarks.batch COUNT``.

Prints the seconds of it all and of the device's part as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from vpn.lib.hub import settings as hub_settings
from vpn.lib.hub.service import Hub
from vpn.lib.hub.status import open_device
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.wireguard.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.plan import Plan
    from vpn.lib.wireguard.types import ObservedDevice, WantedPeer


class Timed:
    """A device that notes how long it takes to apply."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.interface = device.interface
        self.seconds = 0.0

    def read(self) -> ObservedDevice:
        """As the device."""
        return self._device.read()

    def holds(self, public_key: PublicKey) -> bool:
        """As the device."""
        return self._device.holds(public_key)

    def apply(self, plan: Plan) -> None:
        """As the device, timed."""
        started = time.perf_counter()
        self._device.apply(plan)
        self.seconds += time.perf_counter() - started

    def add(self, peers: Iterable[WantedPeer]) -> None:
        """As the device, timed."""
        started = time.perf_counter()
        self._device.add(peers)
        self.seconds += time.perf_counter() - started


def main() -> None:
    """Entry point."""
    count = int(sys.argv[1])
    settings = hub_settings.load(os.environ)
    names = [PeerName(PeerType.NODE, f"batch{count}-{number}") for number in range(count)]
    keys = {name: PublicKey(os.urandom(32)) for name in names}
    device = Timed(open_device(settings))
    started = time.perf_counter()
    with Hub(settings, device) as hub:
        hub.genconf_all(names, keys)
    json.dump({"total": time.perf_counter() - started, "daemon": device.seconds}, sys.stdout)


if __name__ == "__main__":
    main()
