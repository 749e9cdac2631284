"""Whether a table is as it was written: nft's way of writing is no difference, an edit is one."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network

import pytest

from vpn.lib.firewall.nftables import hub_table
from vpn.lib.firewall.override import parse
from vpn.lib.firewall.policy import DEFAULT
from vpn.lib.nft.reading import differences
from vpn.lib.registry.addressing import AddressPlan
from vpn.lib.registry.peer import PeerType

PLAN = AddressPlan(
    IPv4Interface("10.220.0.1/14"),
    {
        PeerType.MANAGEMENT: IPv4Network("10.220.0.0/16"),
        PeerType.NODE: IPv4Network("10.221.0.0/16"),
        PeerType.RESEARCHER: IPv4Network("10.222.0.0/16"),
    },
)
LISTED = """table inet fedbiomed_vpn {
\tchain a {
\t\tlimit rate 10/minute log prefix "denied a>b "
\t\ttcp dport 1883 accept
\t\tip saddr vmap { 10.220.0.2 : goto c, 10.220.0.4-10.220.255.255 : goto d,
\t\t\t\t10.221.0.0/16 : goto e }
\t\tcounter name "a_to_b" drop
\t}
}
"""
GIVEN = """table inet fedbiomed_vpn
delete table inet fedbiomed_vpn
table inet fedbiomed_vpn {
\tchain a {
\t\tlimit rate 10/minute burst 5 packets log prefix "denied a>b "
\t\ttcp dport { 1883 } accept
\t\tip saddr vmap { 10.221.0.0-10.221.255.255 : goto e, 10.220.0.2 : goto c, 10.220.0.4-10.220.255.255 : goto d }
\t\tcounter name a_to_b drop
\t}
}
"""


def test_nft_s_own_way_of_writing_is_no_difference() -> None:
    assert differences(GIVEN, LISTED) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("1883", "1884"), ("goto e", "goto c"), (" drop\n", " accept\n"), ("10.220.0.2", "10.220.0.3"), ("\t\ttcp", "#")],
)
def test_every_edit_is_one(before: str, after: str) -> None:
    assert differences(GIVEN, LISTED.replace(before, after)) == ["a"]


def test_chains_that_are_missing_or_too_many_are_named() -> None:
    assert differences(GIVEN, "") == ["a"]
    assert differences(GIVEN, LISTED + "\tchain b {\n\t\taccept\n\t}\n") == ["b"]


def test_the_hub_s_table_equals_itself_and_no_other_policy_s() -> None:
    mine, other = hub_table(DEFAULT, PLAN, "wg0"), hub_table(parse("allow = []", "policy.toml"), PLAN, "wg0")
    assert differences(mine, mine) == []
    assert "node_to_mqtt" in differences(mine, other)
