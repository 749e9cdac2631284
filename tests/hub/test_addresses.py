"""Addresses over a hub's life: handed out, released, handed out again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.hub.memory_device import MemoryDevice
from tests.hub.peers import node
from vpn.lib.errors import Refused
from vpn.lib.hub import settings as hub_settings
from vpn.lib.hub.service import Hub
from vpn.lib.registry.addressing import MQTT, RESTFUL
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Address
    from pathlib import Path


def open_hub(folder: Path, **environ: str) -> Hub:
    """A hub with these settings beside the defaults."""
    everything = {"VPN_CONFIG_DIR": str(folder), "VPN_SERVER_PUBLIC_ADDR": "hub.example.org", **environ}
    return Hub(hub_settings.load(everything), MemoryDevice())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Hub]:
    """A hub with six addresses for nodes."""
    with open_hub(tmp_path, VPN_NODE_IP_ASSIGN="10.221.0.0/29") as hub:
        yield hub


@pytest.mark.parametrize("order", [[MQTT, RESTFUL], [RESTFUL, MQTT]])
@pytest.mark.parametrize("others", [0, 1, 300])
def test_mqtt_and_restful_get_their_places_whatever_the_order(
    tmp_path: Path, order: list[PeerName], others: int
) -> None:
    with open_hub(tmp_path) as hub:
        if others:
            hub.genconf_all(PeerName(PeerType.MANAGEMENT, f"other{number}") for number in range(others))
        for name in order:
            hub.genconf(name)
        assert str(hub.peer(MQTT).address) == "10.220.0.2"
        assert str(hub.peer(RESTFUL).address) == "10.220.0.3"
        if others:
            assert str(hub.peer(PeerName(PeerType.MANAGEMENT, "other0")).address) == "10.220.0.4"


def test_a_full_range_uses_nothing_up(small: Hub) -> None:
    for number in range(6):
        small.genconf(node(number))
    before = list(small.peers())
    for _ in range(3):
        with pytest.raises(Refused, match=r"no address is left in 10.221.0.0/29 for another node; `removeconf` one"):
            small.genconf(node(7))
        with pytest.raises(Refused, match="no address is left"):
            small.genconf_all([PeerName(PeerType.RESEARCHER, "r"), node(7)])
    assert list(small.peers()) == before
    freed = small.peer(node(3)).address
    small.removeconf(node(3))
    assert small.genconf(node(7)).peer.address == freed


def test_released_addresses_come_after_never_used_ones_and_the_longest_released_first(small: Hub) -> None:
    for number in range(4):
        small.genconf(node(number))
    addresses = [str(small.peer(node(number)).address) for number in range(4)]
    for number in (2, 0, 3):
        small.removeconf(node(number))
    fresh = [str(small.genconf(node(number)).peer.address) for number in range(10, 15)]
    assert fresh == ["10.221.0.6", "10.221.0.1", addresses[2], addresses[0], addresses[3]]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_and_goes_addresses_are_unique_and_none_is_lost(small: Hub, seed: int) -> None:
    chance = random.Random(seed)
    present: dict[PeerName, IPv4Address] = {}
    for _ in range(120):
        name = node(chance.randrange(9))
        if name in present and chance.random() < 0.6:
            small.removeconf(name)
            del present[name]
        elif name in present or len(present) < 6:
            address = small.genconf(name).peer.address
            assert present.get(name, address) == address
            present[name] = address
        else:
            with pytest.raises(Refused, match="no address is left"):
                small.genconf(name)
        assert {peer.name: peer.address for peer in small.peers()} == present
        assert len(set(present.values())) == len(present)


def test_the_places_of_mqtt_and_restful_are_refused_where_an_older_hub_gave_them_away(tmp_path: Path) -> None:
    with open_hub(tmp_path, VPN_MANAGEMENT_IP_ASSIGN="10.220.0.0/24") as hub:
        hub.genconf(MQTT)
    # The range has moved since: mqtt's place is another one, and somebody may have it.
    with open_hub(tmp_path, VPN_NODE_IP_ASSIGN="10.221.0.0/24") as hub:
        hub.genconf(node(1))
    moved = {"VPN_MANAGEMENT_IP_ASSIGN": "10.221.0.0/24", "VPN_NODE_IP_ASSIGN": "10.220.0.0/24"}
    with open_hub(tmp_path, **moved) as hub:
        hub.removeconf(MQTT)
        with pytest.raises(Refused, match=r"10.221.0.2, the address of management mqtt, belongs to node node1"):
            hub.genconf(MQTT)
        # And nobody else of another type gets what a peer has already.
        assert str(hub.genconf(node(2)).peer.address) == "10.220.0.3"


def test_a_peer_that_a_change_of_settings_has_cut_off_is_named(tmp_path: Path) -> None:
    with open_hub(tmp_path) as hub:
        for name in (MQTT, node(1)):
            hub.genconf(name)
    with open_hub(
        tmp_path,
        VPN_SUBNET_PREFIX="15",
        VPN_RESEARCHER_IP_ASSIGN="10.220.128.0/17",
        VPN_MANAGEMENT_IP_ASSIGN="10.220.0.0/17",
        VPN_NODE_IP_ASSIGN="10.221.0.0/16",
    ) as hub:
        assert not hub.genconf(node(1)).new
    narrow = {
        "VPN_SUBNET_PREFIX": "16",
        "VPN_MANAGEMENT_IP_ASSIGN": "10.220.64.0/18",
        "VPN_NODE_IP_ASSIGN": "10.220.128.0/18",
        "VPN_RESEARCHER_IP_ASSIGN": "10.220.192.0/18",
    }
    with open_hub(tmp_path, **narrow) as hub:
        with pytest.raises(Refused, match=r"10.221.0.2 is not one for a peer of the VPN.*put the settings back"):
            hub.genconf(node(1))
        with pytest.raises(Refused, match=r"10.220.0.2 is not 10.220.64.2, where the others look for it"):
            hub.genconf(MQTT)
        hub.removeconf(node(1))
        assert str(hub.genconf(node(1)).peer.address) == "10.220.128.2"
