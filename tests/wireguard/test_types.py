"""Endpoints and ports."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, strategies as st

from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.types import Endpoint, parse_port

ENDPOINTS = st.builds(Endpoint, st.ip_addresses(), st.integers(1, 65535))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1:51820", Endpoint(IPv4Address("192.0.2.1"), 51820)),
        ("[2001:db8::1]:1", Endpoint(IPv6Address("2001:db8::1"), 1)),
        ("[::ffff:192.0.2.1]:65535", Endpoint(IPv6Address("::ffff:192.0.2.1"), 65535)),
    ],
)
def test_an_endpoint_is_an_address_and_a_port(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint


@given(ENDPOINTS)
def test_an_endpoint_s_text_reads_back(endpoint: Endpoint) -> None:
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "192.0.2.1",
        "192.0.2.1:",
        ":51820",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:051820",
        "192.0.2.1:+1",
        "192.0.2.1:1 ",
        " 192.0.2.1:1",
        "192.0.2.1:1\n",
        "192.0.2.1:٣",
        "[192.0.2.1]:51820",
        "2001:db8::1:51820",
        "[2001:db8::1]",
        "[2001:db8::1:51820",
        "2001:db8::1]:51820",
        "[]:51820",
        "hub.example.org:51820",
        "None:None",
    ],
)
def test_what_is_no_numeric_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Endpoint.parse(text)


@given(st.text())
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except InvalidInput:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("51820", 51820), ("65535", 65535)])
def test_a_port_is_a_number_from_1_to_65535(text: str, port: int) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", "1.0", " 1", "1 ", "1e3", "0x10", "٣", "9" * 5000])
def test_any_other_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_port(text)
