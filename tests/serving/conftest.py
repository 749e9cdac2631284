"""A hub in process as for tests/hub, with a daemon that seems to run: lock, status, counters, and counters of nft."""

from __future__ import annotations

import fcntl
import json
import logging
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.hub.conftest import device, hub, settings
from tests.hub.memory_device import MemoryDevice
from tests.hub.peers import key, node
from vpn.lib.hub import counters, policy_file, status
from vpn.lib.hub.status import Status
from vpn.lib.registry.addressing import MQTT
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings

__all__ = ["device", "hub", "settings"]

ANNA = PeerName(PeerType.RESEARCHER, "anna")
DENIED = {"node_to_node": (7, 420), "spoofed_to_any": (1, 60), "node_to_mqtt": (0, 0)}


@pytest.fixture
def environ(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment whose nft prints what was denied."""
    folder = tmp_path_factory.mktemp("programs")
    listed = [{"counter": {"name": name, "packets": some, "bytes": size}} for name, (some, size) in DENIED.items()]
    (folder / "counters").write_text(json.dumps({"nftables": listed}))
    (folder / "nft").write_text(f"#!/bin/sh\nexec /bin/cat {folder}/counters\n")
    (folder / "nft").chmod(0o755)
    return {"PATH": str(folder)}


@pytest.fixture
def running(hub: Hub, settings: Settings, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """mqtt and node3 active, node1 without a key, node2 and anna silent; a daemon holds the lock."""
    names = [MQTT, node(1), node(2), node(3), ANNA]
    hub.genconf_all(names, {MQTT: key(10), node(2): key(2), node(3): key(3), ANNA: key(20)})
    now = time.time()
    for number, age, received, sent in ((10, 5, 5000, 700), (3, 60, 3000, 5), (20, 3600, 1, 2)):
        device.peers[key(number)] = device.peers[key(number)]._replace(
            endpoint=Endpoint(ip_address("192.0.2.7"), 4000 + number),
            latest_handshake=now - age,
            received=received,
            sent=sent,
        )
    monkeypatch.setattr(device, "read", lambda: MemoryDevice.read(device)._replace(public_key=hub.public_key()))
    monkeypatch.setattr(status, "open_device", lambda _: device)
    with (settings.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status.save(settings, Status("boringtun", ""))
        policy_file.keep(settings, policy_file.read(settings))
        log = logging.getLogger("test.serving")
        with counters.counting(settings, log):
            log.warning("boringtun has ended; replacing it", extra={"event": counters.TUNNEL_REPLACED})
            yield hub
