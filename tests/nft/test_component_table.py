"""A component's table: in by the tunnel only, and nothing of the VPN's out by another way."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tests.fakes.nft_rules import Fate, Packet, Table
from vpn.lib.nft.component_table import IN, OUT, THROUGH, component_table

OWN, OTHER, STRANGER, LAN = "10.222.0.2", "10.221.0.2", "198.51.100.7", "192.168.7.2"
NETWORKS = [ip_network("10.220.0.0/14"), ip_network("fd18:1::/64")]


def table(*published: int) -> Table:
    return Table(component_table("wg0", NETWORKS, 40001, published))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_what_comes_by_the_tunnel_or_from_the_machine_itself_is_let_in(protocol: str) -> None:
    assert table().fate("input", Packet(OTHER, OWN, protocol, 50051)).verdict == "accept"
    assert table().fate("input", Packet(OWN, OWN, protocol, 8888, incoming="lo")).verdict == "accept"


@pytest.mark.parametrize("port", [22, 8888, 40001, 50051])
def test_what_comes_by_another_way_is_dropped_but_the_published_ports(port: int) -> None:
    packet = Packet(STRANGER, LAN, "tcp", port, incoming="eth0")
    assert table().fate("input", packet) == Fate("drop", IN)
    expected = Fate("accept", "") if port == 8888 else Fate("drop", IN)
    assert table(8888, 8889).fate("input", packet) == expected
    assert table(8888).fate("input", packet._replace(protocol="udp", port=8888)) == Fate("drop", IN)


@pytest.mark.parametrize(
    "packet",
    [
        Packet(STRANGER, LAN, "udp", 40001),
        Packet(STRANGER, LAN, "udp", 33333, from_port=53, state="established", direction="reply"),
        Packet(STRANGER, LAN, "icmp", icmp="destination-unreachable", state="related"),
        Packet(STRANGER, LAN, "icmp", icmp="echo-request"),
        Packet("fe80::1", "fe80::2", "ipv6-icmp"),
    ],
    ids=["wireguard", "name server", "error", "echo", "neighbour"],
)
def test_what_the_tunnel_itself_needs_is_let_in(packet: Packet) -> None:
    assert table().fate("input", packet._replace(incoming="eth0")).verdict == "accept"


@pytest.mark.parametrize(
    "packet", [Packet(OTHER, LAN, port=8888), Packet(STRANGER, OWN, port=8888), Packet("fd18:1::7", "fd00::1")]
)
def test_addresses_of_the_vpn_come_by_the_tunnel_only_also_to_published_ports(packet: Packet) -> None:
    for state in ("new", "established"):
        assert table(8888).fate("input", packet._replace(incoming="eth0", state=state)) == Fate("drop", IN)


@pytest.mark.parametrize("target", [OTHER, "10.220.0.1", "fd18:1::2"])
def test_what_is_for_the_vpn_leaves_by_the_tunnel_only(target: str) -> None:
    for interface in ("wg0", "lo"):
        assert table().fate("output", Packet(OWN, target, outgoing=interface)).verdict == "accept"
    assert table().fate("output", Packet(LAN, target, outgoing="eth0", state="established")) == Fate("drop", OUT)


def test_all_else_leaves_as_it_likes() -> None:
    assert table().fate("output", Packet(LAN, STRANGER, "udp", 51820, outgoing="eth0")).verdict == "accept"


def test_nobody_comes_into_the_vpn_through_a_component() -> None:
    made = table()
    assert made.fate("forward", Packet(LAN, OTHER, incoming="eth0", outgoing="wg0")) == Fate("drop", THROUGH)
    assert made.fate("forward", Packet(OTHER, LAN, incoming="wg0", outgoing="eth0")) == Fate("drop", THROUGH)
    assert made.fate("forward", Packet(LAN, STRANGER, incoming="eth0", outgoing="eth1")).verdict == "accept"
