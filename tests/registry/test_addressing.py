"""Which address a peer gets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from vpn.lib.errors import InvalidInput
from vpn.lib.registry.addressing import MQTT, RESTFUL, AddressPlan, check, parse_range
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {
    PeerType.MANAGEMENT: "VPN_MANAGEMENT_IP_ASSIGN",
    PeerType.NODE: "VPN_NODE_IP_ASSIGN",
    PeerType.RESEARCHER: "VPN_RESEARCHER_IP_ASSIGN",
}


OUTSIDE = "is outside of the VPN's network 10.220.0.0/14 (VPN_IP, VPN_SUBNET_PREFIX)"


def plan(hub: str = "10.220.0.1/14", **ranges: str) -> AddressPlan:
    defaults = {"management": "10.220.0.0/16", "node": "10.221.0.0/16", "researcher": "10.222.0.0/16"}
    return AddressPlan(
        IPv4Interface(hub), {PeerType(name): IPv4Network(text) for name, text in (defaults | ranges).items()}
    )


def handed_out(whole: AddressPlan, peer_type: PeerType) -> Iterator[IPv4Address]:
    """The addresses in the order in which they are handed out while nothing is released."""
    first = whole.ranges[peer_type].network_address + 1
    highest, first_used = None, False
    while (fresh := whole.never_used(peer_type, highest, first_used)) is not None:
        yield fresh
        highest, first_used = max(highest or fresh, fresh), first_used or fresh == first


@given(
    prefix=st.integers(23, 30),
    place=st.integers(0, 255),
    hub=st.integers(1, 2**18 - 2),
    peer_type=st.sampled_from(PeerType),
)
def test_addresses_are_unique_inside_the_range_and_never_special(
    prefix: int, place: int, hub: int, peer_type: PeerType
) -> None:
    network = IPv4Network((int(IPv4Address("10.220.0.0")) + place * 2 ** (32 - prefix), prefix))
    hub_address = IPv4Address("10.220.0.0") + hub
    whole = plan(f"{hub_address}/14")._replace(ranges=dict.fromkeys(PeerType, network))
    handed = list(handed_out(whole, peer_type))
    assert whole.capacity(peer_type) == len(handed)
    special = {hub_address, network.network_address, network.broadcast_address}
    special |= {address for address in network if int(address) & 0xFF in (0, 255)}
    if peer_type is PeerType.MANAGEMENT:
        special |= {network.network_address + 2, network.network_address + 3}
    assert len(set(handed)) == len(handed)
    # Every other one of the range, so nothing is wasted either.
    assert set(handed) == set(network) - special


def test_the_first_host_comes_last() -> None:
    handed = handed_out(plan(node="10.221.0.0/29"), PeerType.NODE)
    assert [str(address) for address in handed] == [f"10.221.0.{last}" for last in (2, 3, 4, 5, 6, 1)]


@pytest.mark.parametrize("peer_type", PeerType)
def test_around_the_256th_peer_no_address_ends_in_0_or_255(peer_type: PeerType) -> None:
    handed = list(map(str, islice(handed_out(plan(), peer_type), 520)))
    network = str(plan().ranges[peer_type].network_address).removesuffix(".0.0")
    first = 4 if peer_type is PeerType.MANAGEMENT else 2
    before = 255 - first
    assert handed[0] == f"{network}.0.{first}"
    assert handed[before - 1 : before + 2] == [f"{network}.0.254", f"{network}.1.1", f"{network}.1.2"]
    assert handed[before + 253 : before + 255] == [f"{network}.1.254", f"{network}.2.1"]


def test_mqtt_and_restful_own_their_places() -> None:
    whole = plan(management="10.220.4.0/24")
    assert [str(whole.reserved(name)) for name in (MQTT, RESTFUL)] == ["10.220.4.2", "10.220.4.3"]
    assert whole.reserved(PeerName(PeerType.NODE, "mqtt")) is None
    assert whole.reserved(PeerName(PeerType.MANAGEMENT, "MQTT")) is None


@pytest.mark.parametrize(
    ("whole", "problems"),
    [
        (plan(), []),
        (plan(node="10.221.0.0/30"), []),
        (plan(node="10.221.0.0/31"), ["VPN_NODE_IP_ASSIGN=10.221.0.0/31 is too small: /30 is the smallest range"]),
        (plan(node="10.221.0.0/32"), ["VPN_NODE_IP_ASSIGN=10.221.0.0/32 is too small: /30 is the smallest range"]),
        (
            plan(node="10.222.128.0/17"),
            ["VPN_NODE_IP_ASSIGN=10.222.128.0/17 overlaps VPN_RESEARCHER_IP_ASSIGN=10.222.0.0/16"],
        ),
        (
            plan(researcher="10.224.0.0/16"),
            [f"VPN_RESEARCHER_IP_ASSIGN=10.224.0.0/16 {OUTSIDE}"],
        ),
        (plan("10.220.0.0/14"), ["VPN_IP=10.220.0.0 is the network or broadcast address of 10.220.0.0/14"]),
        (plan("10.223.255.255/14"), ["VPN_IP=10.223.255.255 is the network or broadcast address of 10.220.0.0/14"]),
        (
            plan("10.220.0.3/14"),
            ["VPN_IP=10.220.0.3 is the address of restful in VPN_MANAGEMENT_IP_ASSIGN=10.220.0.0/16"],
        ),
        (
            plan(management="10.220.0.0/30"),
            ["VPN_MANAGEMENT_IP_ASSIGN=10.220.0.0/30 has no room for restful at 10.220.0.3"],
        ),
    ],
)
def test_a_bad_plan_is_told_with_both_values(whole: AddressPlan, problems: list[str]) -> None:
    assert check(whole, SETTINGS) == problems


def test_all_problems_of_a_plan_are_told() -> None:
    whole = plan(node="10.222.0.0/31", researcher="192.168.0.0/16", management="10.222.0.0/16")
    told = check(whole, SETTINGS)
    assert len(told) == 3
    assert [sum(word in problem for problem in told) for word in ("small", "outside", "overlaps")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.221.0.5/16", "host bits are set; did you mean 10.221.0.0/16"),
        ("fd00::/8", "IPv6 is not supported inside the VPN; write an IPv4 range"),
        ("10.221.0.0/33", "not an IPv4 range; write one such as"),
        ("", "not an IPv4 range"),
        ("10.221.0.0/16 ", "not an IPv4 range"),
        ("10.0221.0.0/16", "not an IPv4 range"),
    ],
)
def test_a_bad_range_is_told_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_range(text)
