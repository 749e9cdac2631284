"""What is seen of the network, on this machine's own loopback."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from vpn.lib.probes import network

if TYPE_CHECKING:
    from pathlib import Path

TRACKED = """\
ipv4     2 udp      17 29 src=198.18.3.2 dst=198.18.1.2 sport=40580 dport=51820 [UNREPLIED] src=198.18.1.2 \
dst=198.18.3.2 sport=51820 dport=40580 mark=0 zone=0 use=2
ipv4     2 udp      17 119 src=198.18.3.2 dst=198.18.1.3 sport=40580 dport=51820 src=198.18.1.3 dst=198.18.3.2 \
sport=51820 dport=40580 [ASSURED] mark=0 zone=0 use=2
ipv6     10 udp      17 29 src=fd18:0000:0000:0000:0000:0000:0003:0002 dst=fd18:0000:0000:0000:0000:0000:0001:0002 \
sport=40580 dport=51820 src=fd18:0000:0000:0000:0000:0000:0001:0002 dst=fd18:0000:0000:0000:0000:0000:0003:0002 \
sport=51820 dport=40580 mark=0 zone=0 use=2
ipv4     2 tcp      6 29 src=198.18.3.2 dst=198.18.1.4 sport=40580 dport=51820 src=198.18.1.4 dst=198.18.3.2 \
sport=51820 dport=40580 mark=0 zone=0 use=2
"""


@pytest.mark.parametrize(
    ("address", "port", "answered"),
    [
        ("198.18.1.2", 51820, False),
        ("198.18.1.3", 51820, True),
        ("fd18::1:2", 51820, True),
        ("198.18.1.3", 5182, None),
        ("198.18.3.2", 40580, None),
        ("198.18.1.4", 51820, None),
    ],
)
def test_whether_anything_came_back(tmp_path: Path, address: str, port: int, answered: bool | None) -> None:
    table = tmp_path / "nf_conntrack"
    assert network.has_answered(address, port, table) is None
    table.write_text(TRACKED)
    assert network.has_answered(address, port, table) is answered


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_udp_port_that_nobody_has_is_refused_and_one_in_use_is_silent(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as silent:
        silent.bind((address, 0))
        port = silent.getsockname()[1]
        assert network.udp(address, port, 0.1) == (0, "")
    assert network.udp(address, port, 5) == (errno.ECONNREFUSED, address)


def test_a_tcp_port_that_nobody_has_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert network.tcp("127.0.0.1", port) == 0
    assert network.tcp("127.0.0.1", port) == errno.ECONNREFUSED


def test_addresses_are_themselves_and_names_are_looked_up() -> None:
    assert network.look_up("192.0.2.1") == ["192.0.2.1"]
    assert network.look_up("2001:DB8::1") == ["2001:db8::1"]
    assert set(network.look_up("localhost")) <= {"127.0.0.1", "::1"}
    assert network.source_towards("127.0.0.1") == "127.0.0.1"
