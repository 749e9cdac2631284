"""Who may reach whom, and which role an address has."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given, strategies as st

from tests.firewall.strategies import rules
from vpn.lib.errors import InvalidInput
from vpn.lib.firewall.policy import DEFAULT, TCP, UDP, Role, Rule, intervals, make, role_of
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


def test_the_default_is_what_the_consortium_was_told() -> None:
    assert [str(rule) for rule in DEFAULT.rules] == [
        "node -> mqtt tcp 1883",
        "node -> restful tcp 8000",
        "node -> researcher tcp 50051",
        "researcher -> mqtt tcp 1883",
        "researcher -> restful tcp 8000",
    ]


@pytest.mark.parametrize("role", [Role.NODE, Role.RESEARCHER])
def test_nodes_never_reach_each_other_nor_do_researchers(role: Role) -> None:
    with pytest.raises(InvalidInput, match=f"{role.value} -> {role.value} is never allowed"):
        make([Rule(role, role, TCP, 1883, 1883)])
    assert DEFAULT.talk(role, role) is False


@pytest.mark.parametrize(
    ("protocol", "first", "last"), [("tcp", 0, 1), ("tcp", 5, 4), ("udp", 1, 65536), ("sctp", 1, 1)]
)
def test_ports_that_are_none_are_refused(protocol: str, first: int, last: int) -> None:
    with pytest.raises(InvalidInput, match="are no ports"):
        make([Rule(Role.NODE, Role.MQTT, protocol, first, last)])


@given(st.lists(rules(), max_size=10), st.integers(1, 14), st.sampled_from((TCP, UDP)))
def test_merged_rules_allow_what_the_single_ones_do_and_never_overlap(
    given_rules: list[Rule], port: int, protocol: str
) -> None:
    policy = make(given_rules)
    for source in Role:
        for target in Role:
            single = any(
                rule[:3] == (source, target, protocol) and rule.first <= port <= rule.last for rule in given_rules
            )
            assert (policy.allowing(source, target, protocol, port) is not None) == single
    for one, other in zip(policy.rules, policy.rules[1:], strict=False):
        assert one[:3] != other[:3] or one.last + 1 < other.first
    assert make(reversed(policy.rules)) == policy


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("10.220.0.1", None),
        ("10.220.0.2", Role.MQTT),
        ("10.220.0.3", Role.RESTFUL),
        ("10.220.0.4", Role.MANAGEMENT),
        ("10.220.255.254", Role.MANAGEMENT),
        ("10.221.0.0", Role.NODE),
        ("10.221.255.255", Role.NODE),
        ("10.222.7.7", Role.RESEARCHER),
        ("10.223.0.1", None),
        ("10.219.255.255", None),
        ("198.51.100.1", None),
    ],
)
def test_an_address_has_the_role_of_its_place(address: str, role: Role | None) -> None:
    assert role_of(PLAN, IPv4Address(address)) is role


@pytest.mark.parametrize(
    "hub", ["10.220.0.1", "10.220.0.4", "10.220.255.254", "10.221.0.9", "10.221.255.254", "10.223.0.1"]
)
def test_the_roles_share_no_address_and_leave_out_none_but_the_hubs(hub: str) -> None:
    plan = PLAN._replace(hub=IPv4Interface(f"{hub}/14"))
    stretches = sorted(stretch for found in intervals(plan).values() for stretch in found)
    count = sum(int(last) - int(first) + 1 for first, last in stretches)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(stretches))
    inside = any(plan.hub.ip in network for network in plan.ranges.values())
    assert count == 3 * 65536 - inside
    assert role_of(plan, plan.hub.ip) is None
