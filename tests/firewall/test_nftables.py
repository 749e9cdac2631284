"""The hub's table does what the policy says, for every packet, and its size depends on the policy alone."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network

import pytest
from hypothesis import given, strategies as st

from tests.fakes.nft_rules import Fate, Packet, Table
from tests.firewall.strategies import policies
from tests.firewall.test_policy import PLAN
from vpn.lib.control import PORT
from vpn.lib.firewall.nftables import denials, denied, hub_table
from vpn.lib.firewall.policy import DEFAULT, NOTHING, TCP, UDP, Policy, Role
from vpn.lib.registry.peer import PeerType

ADDRESSES = {
    Role.MQTT: "10.220.0.2",
    Role.RESTFUL: "10.220.0.3",
    Role.MANAGEMENT: "10.220.0.9",
    Role.NODE: "10.221.0.2",
    Role.RESEARCHER: "10.222.3.4",
}
HUB, NOBODY, STRANGER = "10.220.0.1", "10.223.0.1", "198.51.100.7"
NODE, MQTT = ADDRESSES[Role.NODE], ADDRESSES[Role.MQTT]
PAIRS = [(source, target) for source in Role for target in Role]


def table(policy: Policy = DEFAULT) -> Table:
    return Table(hub_table(policy, PLAN, "wg0"))


def passing(source: str, target: str, protocol: str = "tcp", port: int = 1883) -> Packet:
    return Packet(source, target, protocol, port, outgoing="wg0")


def answering(packet: Packet, state: str = "established") -> Packet:
    return packet._replace(
        source=packet.target,
        target=packet.source,
        port=packet.from_port,
        from_port=packet.port,
        state=state,
        direction="reply",
    )


@given(policies(), st.sampled_from(PAIRS), st.sampled_from((TCP, UDP)), st.integers(1, 14) | st.integers(1, 65535))
def test_a_new_connection_passes_exactly_where_a_rule_allows_it(
    policy: Policy, pair: tuple[Role, Role], protocol: str, port: int
) -> None:
    source, target = pair
    fate = table(policy).fate("forward", passing(ADDRESSES[source], ADDRESSES[target], protocol, port))
    if policy.allowing(source, target, protocol, port):
        assert fate == Fate("accept", "")
    else:
        assert fate == Fate("drop", f"{source.value}_to_{target.value}")


@given(policies(), st.sampled_from(PAIRS), st.sampled_from((TCP, UDP)), st.integers(1, 14))
def test_answers_pass_exactly_where_the_connection_is_allowed_now(
    policy: Policy, pair: tuple[Role, Role], protocol: str, port: int
) -> None:
    source, target = pair
    question = passing(ADDRESSES[source], ADDRESSES[target], protocol, port)
    fate = table(policy).fate("forward", answering(question))
    backwards = policy.allowing(target, source, protocol, question.from_port)
    assert (fate.verdict == "accept") == bool(policy.allowing(source, target, protocol, port) or backwards)


@given(policies(), st.sampled_from(PAIRS))
def test_echo_passes_between_roles_that_may_talk(policy: Policy, pair: tuple[Role, Role]) -> None:
    source, target = pair
    echo = Packet(ADDRESSES[source], ADDRESSES[target], "icmp", icmp="echo-request", outgoing="wg0")
    expected = "accept" if policy.talk(source, target) else "drop"
    made = table(policy)
    assert made.fate("forward", echo).verdict == expected
    assert made.fate("forward", answering(echo)._replace(icmp="echo-reply")).verdict == expected
    error = answering(echo, "related")._replace(icmp="destination-unreachable")
    assert made.fate("forward", error).verdict == expected


@pytest.mark.parametrize(
    "packet",
    [
        answering(passing(NODE, MQTT))._replace(state="new", direction="original"),
        answering(passing(NODE, MQTT))._replace(state="invalid"),
        Packet(NODE, MQTT, "icmp", icmp="redirect", outgoing="wg0"),
        Packet(NODE, MQTT, "icmp", icmp="echo-reply", outgoing="wg0"),
        Packet(NODE, MQTT, "icmp", icmp="destination-unreachable", outgoing="wg0"),
        passing(NODE, MQTT, "sctp"),
        passing(NODE, MQTT)._replace(outgoing="eth0"),
        passing(NODE, NOBODY),
        passing(NODE, STRANGER)._replace(outgoing="eth0"),
        passing(NODE, HUB),
    ],
)
def test_what_no_rule_names_is_dropped_and_counted(packet: Packet) -> None:
    fate = table().fate("forward", packet)
    assert fate.verdict == "drop"
    assert fate.counter


@pytest.mark.parametrize("hook", ["forward", "input"])
@pytest.mark.parametrize(
    ("source", "incoming"),
    [
        (NOBODY, "wg0"),
        (STRANGER, "wg0"),
        (HUB, "wg0"),
        ("fd00::1", "wg0"),
        (NODE, "eth0"),
        (MQTT, "eth1"),
        (HUB, "eth0"),
    ],
)
def test_a_source_that_is_no_peers_or_does_not_come_out_of_wg0_is_dropped(
    hook: str, source: str, incoming: str
) -> None:
    target = MQTT if hook == "forward" else HUB
    packet = Packet(source, target, port=1883, incoming=incoming, outgoing="wg0" if hook == "forward" else "")
    if source == "fd00::1":
        packet = packet._replace(target="fd00::2")
    assert table().fate(hook, packet) == Fate("drop", "spoofed_to_any")


def test_nobody_comes_into_the_vpn_from_outside_of_it() -> None:
    packet = Packet(STRANGER, MQTT, port=1883, incoming="eth0", outgoing="wg0")
    assert table().fate("forward", packet) == Fate("drop", "outside_to_any")
    assert table().fate("input", Packet(STRANGER, HUB, port=22, incoming="eth0")) == Fate("drop", "outside_to_any")


@pytest.mark.parametrize("role", Role)
def test_the_hub_itself_answers_echo_and_rejects_the_word_that_makes_tunnels_work(role: Role) -> None:
    made, source = table(), ADDRESSES[role]
    counter = f"{role.value}_to_hub"
    assert made.fate("input", Packet(source, HUB, "icmp", icmp="echo-request")).verdict == "accept"
    assert made.fate("input", Packet(source, HUB, "udp", 9)).verdict == "reject"
    assert made.fate("input", Packet(source, HUB, "tcp", 9)) == Fate("drop", counter)
    assert made.fate("input", Packet(source, HUB, "tcp", 22)) == Fate("drop", counter)
    assert made.fate("input", Packet(source, HUB, "tcp", 22, state="established")) == Fate("drop", counter)
    # Another address of the hub's machine.
    assert made.fate("input", Packet(source, STRANGER, "icmp", icmp="echo-request")) == Fate("drop", counter)


@pytest.mark.parametrize("role", Role)
def test_every_peer_reaches_the_hub_s_control_port_and_management_what_is_served_for_it(role: Role) -> None:
    made = Table(hub_table(DEFAULT, PLAN, "wg0", [8080]))
    asked = {port: made.fate("input", passing(ADDRESSES[role], HUB, port=port)).verdict for port in (PORT, 8080, 8081)}
    assert asked == {PORT: "accept", 8080: "accept" if role is Role.MANAGEMENT else "drop", 8081: "drop"}
    assert made.fate("input", passing(ADDRESSES[role], HUB, "udp", PORT)).verdict == "drop"
    assert made.fate("input", passing(ADDRESSES[role], HUB, port=PORT)._replace(incoming="eth0")).verdict == "drop"


def test_who_is_invited_reaches_the_control_port_and_nothing_else() -> None:
    guest = "10.223.0.1"
    made = Table(hub_table(DEFAULT, PLAN._replace(invited=IPv4Network("10.223.0.0/16")), "wg0", [8080]))
    assert made.fate("input", passing(guest, HUB, port=PORT)).verdict == "accept"
    refused = [
        made.fate("input", passing(guest, HUB, port=8080)),
        made.fate("input", passing(guest, HUB, "udp", 9)),
        made.fate("input", Packet(guest, HUB, "icmp", icmp="echo-request")),
        *(made.fate("forward", passing(guest, address, port=1883)) for address in ADDRESSES.values()),
        made.fate("forward", passing(guest, "10.223.0.2")),
    ]
    assert set(refused) == {Fate("drop", "invited_to_any")}


def test_what_the_hub_begins_is_answered() -> None:
    made = table(NOTHING)
    question = Packet(HUB, NODE, "tcp", 22)
    assert made.fate("input", answering(question)).verdict == "accept"
    error = answering(question, "related")._replace(protocol="icmp", icmp="destination-unreachable")
    assert made.fate("input", error).verdict == "accept"


@pytest.mark.parametrize("packet", [Packet(STRANGER, "192.0.2.1", port=22), Packet("fd00::1", "fd00::2", port=22)])
def test_what_is_not_of_the_vpn_is_left_alone(packet: Packet) -> None:
    made = table(NOTHING)
    assert made.fate("forward", packet._replace(incoming="eth0", outgoing="eth1")) == Fate("accept", "")
    assert made.fate("input", packet._replace(incoming="eth0")) == Fate("accept", "")
    assert made.fate("input", Packet(HUB, HUB, port=22, incoming="lo")) == Fate("accept", "")


def test_its_size_does_not_depend_on_the_ranges() -> None:
    small = PLAN._replace(
        hub=IPv4Interface("10.0.0.1/24"),
        ranges={
            PeerType.MANAGEMENT: IPv4Network("10.0.0.0/28"),
            PeerType.NODE: IPv4Network("10.0.0.64/28"),
            PeerType.RESEARCHER: IPv4Network("10.0.0.128/28"),
        },
    )
    sizes = {hub_table(DEFAULT, plan, "wg0").count("\n") for plan in (PLAN, small)}
    assert len(sizes) == 1
    assert sizes.pop() < 400


def test_a_range_that_the_services_fill_leaves_no_role_without_its_chain() -> None:
    full = PLAN._replace(
        hub=IPv4Interface("10.223.0.1/14"),
        ranges={**PLAN.ranges, PeerType.MANAGEMENT: IPv4Network("10.220.0.0/30")},
    )
    made = Table(hub_table(DEFAULT, full, "wg0"))
    assert made.fate("forward", passing(NODE, "10.220.0.2")).verdict == "accept"
    assert made.fate("forward", passing(NODE, "10.220.0.1")).counter == "node_to_management"


def test_every_counter_has_its_pair_of_ends() -> None:
    made = table()
    assert set(denied(made.counters)) == made.counters
    assert sorted(denied(made.counters).values()) == sorted(denials())
    assert denied(["of_another_version"]) == {}
