"""list and show, and what the daemon says of itself."""

from __future__ import annotations

import fcntl
import json
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.hub.peers import key, node
from tests.registry.snapshot import mode_of
from vpn.lib.hub import listing, status
from vpn.lib.hub.listing import View
from vpn.lib.hub.status import Status
from vpn.lib.registry.peer import Standing
from vpn.lib.wireguard.types import Endpoint, ObservedPeer

if TYPE_CHECKING:
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings

SEEN = Endpoint(ip_address("192.0.2.7"), 4321)


@pytest.fixture
def peers(hub: Hub, device: MemoryDevice) -> Hub:
    """node1 without a key, node2 with one, node3 with one and traffic a minute ago."""
    hub.genconf_all([node(1), node(2), node(3)], {node(2): key(2), node(3): key(3)})
    device.peers[key(3)] = device.peers[key(3)]._replace(
        endpoint=SEEN, latest_handshake=time.time() - 60, received=3000, sent=5
    )
    return hub


def test_each_peer_has_its_state(peers: Hub) -> None:
    assert [view.state for view in listing.view(peers)] == ["registered", "added", "active"]


@pytest.mark.parametrize("trouble", ["missing", "hanging", "refusing"])
def test_without_wg0_the_registry_is_listed_all_the_same(peers: Hub, device: MemoryDevice, trouble: str) -> None:
    setattr(device, trouble, True)
    views = listing.view(peers)
    assert [view.peer.name.id for view in views] == ["node1", "node2", "node3"]
    assert [view.state for view in views] == ["registered", "added", "added"]


def test_json_is_for_programs(peers: Hub) -> None:
    whole = json.loads(listing.as_json(listing.view(peers)))
    assert [item["id"] for item in whole] == ["node1", "node2", "node3"]
    assert whole[0]["public_key"] is None
    assert whole[1] == {
        "type": "node",
        "id": "node2",
        "address": "10.221.0.3",
        "state": "added",
        "public_key": str(key(2)),
        "latest_handshake": None,
        "endpoint": None,
        "received": 0,
        "sent": 0,
        "version": None,
        "until": None,
        "invited_until": None,
    }
    assert (whole[2]["endpoint"], whole[2]["received"], whole[2]["sent"]) == ("192.0.2.7:4321", 3000, 5)
    assert json.loads(listing.as_json([])) == []
    assert json.loads(listing.one_as_json(listing.view_one(peers, node(2)))) == whole[1]


def test_the_table_is_for_people(peers: Hub) -> None:
    views = listing.view(peers)
    handshake = views[2].observed.latest_handshake if views[2].observed else None
    assert handshake is not None
    rows = [
        line.split() for line in listing.as_table([view._replace(now=handshake + 60) for view in views]).splitlines()
    ]
    assert tuple(rows[0]) == listing.HEAD
    assert rows[1] == ["node", "node1", "10.221.0.2", "registered", *["-"] * 6]
    assert " ".join(rows[3]) == "node node3 10.221.0.4 active 60 s ago 2.9 KiB 5 B 192.0.2.7:4321 - -"
    assert "no components yet" in listing.as_table([])
    text = listing.one_as_text(listing.view_one(peers, node(3)), peers.config_path(node(3)))
    for part in ("node node3", "10.221.0.4", str(key(3)), "192.0.2.7:4321", "config.env", "1970-01-12 13:46:40 UTC"):
        assert part in text


@pytest.mark.parametrize(
    ("handshake", "age", "state"),
    [
        (None, None, "added"),
        (1000.0, 0.0, "active"),
        (821.0, 179.0, "active"),
        (820.0, 180.0, "added"),
        (5000.0, 0.0, "active"),
    ],
)
def test_the_age_of_a_handshake(hub: Hub, handshake: float | None, age: float | None, state: str) -> None:
    # One in the future is of a clock that was set back; it counts as now.
    peer = hub.genconf(node(1)).peer._replace(public_key=key(1))
    view = View(peer, ObservedPeer(key(1), None, frozenset(), None, 0, handshake, 0, 0), 1000.0)
    assert (view.age, view.state) == (age, state)


@pytest.mark.parametrize("standing", [Standing.DISABLED, Standing.EXPIRED])
def test_who_may_not_be_in_is_not_active_whatever_wg0_says(hub: Hub, standing: Standing) -> None:
    peer = hub.genconf(node(1)).peer._replace(public_key=key(1), standing=standing)
    view = View(peer, ObservedPeer(key(1), None, frozenset(), None, 0, 1000.0, 0, 0), 1000.0)
    assert view.state == standing.value
    assert set(listing.STATES) == {
        *("active", "added", "invited", "registered"),
        *(one.value for one in Standing if one is not Standing.ENABLED),
    }


def test_a_status_is_what_was_published(hub: Hub, settings: Settings) -> None:
    assert status.load(settings) is None
    for published in (Status("boringtun", ""), Status("kernel", "it's not there; `restart` it = now #1")):
        status.save(settings, published)
        assert status.load(settings) == published._replace(problem=published.problem.replace("'", "`"))
    assert mode_of(settings.folder / "wireguard" / "status") == 0o600
    status.clear(settings)
    status.clear(settings)
    assert status.load(settings) is None


@pytest.mark.parametrize("damage", [b"", b"half", b"\xff", b"export IMPLEMENTATION=x\n"])
def test_a_damaged_status_is_none(hub: Hub, settings: Settings, damage: bytes) -> None:
    (settings.folder / "wireguard" / "status").write_bytes(damage)
    assert status.load(settings) is None


def test_health_tells_the_first_thing_that_is_missing(hub: Hub, settings: Settings) -> None:
    assert status.unhealthy(settings) == "the hub's daemon is not running; start it with `vpn_server.py`"
    with (settings.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "the hub is starting" in (status.unhealthy(settings) or "")
        status.save(settings, Status("boringtun", "boringtun hangs"))
        assert status.unhealthy(settings) == "boringtun hangs"


def test_health_does_not_keep_the_daemon_from_starting(hub: Hub, settings: Settings) -> None:
    status.unhealthy(settings)
    with (settings.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
