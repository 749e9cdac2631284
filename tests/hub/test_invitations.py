"""Invitations: temporary keys, used once."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.hub.peers import key
from vpn.lib import config_env
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.hub import invitations, life, settings as hub_settings, state, when
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.service import Hub
from vpn.lib.registry.addressing import free_range
from vpn.lib.registry.peer import Invitation, PeerName, PeerType
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey

if TYPE_CHECKING:
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.settings import Settings

NODE = PeerName(PeerType.NODE, "node1")
NOW = 1_000_000.0
PSK = PresharedKey(bytes([7] * 32))


def invite(hub: Hub, name: PeerName = NODE, valid: float = 60) -> Invitation:
    made = hub.genconf(name, Terms(valid=valid)).invitation
    assert made is not None
    return made


def test_its_file_holds_the_invitation_s_keys_and_none_of_the_peer_s(hub: Hub, device: MemoryDevice) -> None:
    made = invite(hub)
    values = config_env.load(hub.config_path(NODE))
    peer = hub.peer(NODE)
    assert PrivateKey.parse(values["VPN_INVITATION_KEY"]).public_key() == made.public_key
    assert (values["VPN_INVITATION_IP"], values["VPN_IP"]) == (str(made.address), str(peer.address))
    assert values["VPN_SERVER_PSK"] == made.preshared_key.reveal() != peer.preshared_key.reveal()
    assert values["VPN_INVITATION_EXPIRES"] == "1970-01-12T13:47:40Z"
    assert device.peers.keys() == {made.public_key}
    assert made.address in IPv4Network("10.223.0.0/16")


def test_it_is_used_once_and_its_key_is_out_with_it(hub: Hub, device: MemoryDevice) -> None:
    made = invite(hub)
    agreed = invitations.enrol(hub, made.address, key(1), PSK)
    assert made.public_key in device.peers, "the answer goes through it"
    invitations.settle(hub, NODE, agreed.former)
    assert device.peers.keys() == {key(1)}
    assert (hub.peer(NODE).public_key, hub.peer(NODE).preshared_key) == (key(1), PSK)
    values = config_env.load(hub.config_path(NODE))
    assert values["VPN_SERVER_PSK"] == PSK.reveal()
    assert not [name for name in values if "INVITATION" in name]
    with pytest.raises(Refused, match="there is no such invitation any more; ask for a new one"):
        invitations.enrol(hub, made.address, key(2), PSK)


def test_a_new_one_takes_the_place_of_the_former(hub: Hub, device: MemoryDevice) -> None:
    first, second = invite(hub), invite(hub)
    assert first.public_key != second.public_key
    assert device.peers.keys() == {second.public_key}


def test_a_member_stays_in_until_its_new_invitation_is_used(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(NODE)
    hub.add(NODE, key(1))
    made = invite(hub)
    assert device.peers.keys() == {key(1), made.public_key}
    agreed = invitations.enrol(hub, made.address, key(2), PSK)
    invitations.settle(hub, NODE, agreed.former)
    assert device.peers.keys() == {key(2)}


def test_a_settling_that_comes_late_brings_nobody_back(hub: Hub, device: MemoryDevice) -> None:
    made = invite(hub)
    agreed = invitations.enrol(hub, made.address, key(1), PSK)
    hub.remove(NODE)
    invitations.settle(hub, NODE, agreed.former)
    assert not device.peers


def test_an_expired_one_is_dead_but_known(hub: Hub, settings: Settings) -> None:
    made = invite(hub)
    registry = state.open_registry(settings, lambda _: None)
    assert life.expire(settings, registry, NOW + 60) == [NODE]
    registry.close()
    assert [one.expired for one in hub.invitations()] == [True]
    with pytest.raises(Refused, match="the invitation of node node1 has expired; ask for a new one"):
        invitations.enrol(hub, made.address, key(1), PSK)


def test_it_expires_by_registry_time_also_before_the_daemon_looks(hub: Hub, device: MemoryDevice) -> None:
    made = invite(hub)
    with (
        Hub(hub.settings, device, clock=lambda: NOW + 60) as later,
        pytest.raises(Refused, match="has expired"),
    ):
        invitations.enrol(later, made.address, key(1), PSK)


@pytest.mark.parametrize("command", ["add", "remove", "removeconf", "disable"])
def test_what_is_done_to_the_peer_ends_its_invitation(hub: Hub, device: MemoryDevice, command: str) -> None:
    made = invite(hub)
    if command == "add":
        hub.add(NODE, key(1))
    elif command == "disable":
        life.disable(hub, NODE)
    else:
        getattr(hub, command)(NODE)
    assert list(hub.invitations()) == []
    assert made.public_key not in device.peers
    if command != "removeconf":
        assert "INVITATION" not in hub.config_path(NODE).read_text()


def test_keys_that_cannot_be_handed_over(hub: Hub) -> None:
    hub.genconf(PeerName(PeerType.NODE, "other"))
    hub.add(PeerName(PeerType.NODE, "other"), key(5))
    hub.remove(PeerName(PeerType.NODE, "other"), leaked=True)
    hub.genconf(PeerName(PeerType.NODE, "third"))
    hub.add(PeerName(PeerType.NODE, "third"), key(6))
    made = invite(hub)
    for given_key, why in (
        (key(5), "leaked"),
        (key(6), "belongs to node third"),
        (hub.public_key(), "the hub's own"),
        (made.public_key, "the invitation's own key"),
    ):
        with pytest.raises(Refused, match=why):
            invitations.enrol(hub, made.address, given_key, PSK)
    assert hub.peer(NODE).public_key is None
    invitations.enrol(hub, made.address, key(7), PSK)


def test_a_rotation_is_taken_once_and_repeated_at_will(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(NODE)
    hub.add(NODE, key(1))
    address = hub.peer(NODE).address
    with pytest.raises(Refused, match="node node1 is not asked to make new keys"):
        invitations.rotate(hub, address, key(2), PSK)
    life.ask_rotation(hub, NODE)
    agreed = invitations.rotate(hub, address, key(2), PSK)
    invitations.settle(hub, NODE, agreed.former)
    assert device.peers.keys() == {key(2)}
    assert not invitations.rotate(hub, address, key(2), PSK).new
    with pytest.raises(Refused, match="is not asked"):
        invitations.rotate(hub, address, key(3), PSK)
    # The key of before can be marked as leaked.
    hub.remove(NODE)
    hub.add(NODE, key(1))


def test_a_stranger_s_address_is_refused(hub: Hub) -> None:
    for agree in (invitations.enrol, invitations.rotate):
        with pytest.raises(Refused):
            agree(hub, IPv4Address("10.221.0.77"), key(1), PSK)


def test_addresses_run_out_and_are_used_again(tmp_path: object, device: MemoryDevice) -> None:
    settings = hub_settings.load(
        {
            "VPN_CONFIG_DIR": str(tmp_path),
            "VPN_SERVER_PUBLIC_ADDR": "hub.example.org",
            "VPN_INVITATION_IP_ASSIGN": "10.223.0.0/30",
        }
    )
    with Hub(settings, device) as hub:
        first = [PeerName(PeerType.NODE, f"n{number}") for number in range(3)]
        addresses = {invite(hub, name).address for name in first[:2]}
        assert len(addresses) == 2
        with pytest.raises(Refused, match=r"all addresses of 10\.223\.0\.0/30 are given to invitations"):
            invite(hub, first[2])
        hub.remove(first[0])
        assert invite(hub, first[2]).address in addresses


def test_a_vpn_without_room_for_them_says_so(tmp_path: object, device: MemoryDevice) -> None:
    settings = hub_settings.load(
        {
            "VPN_CONFIG_DIR": str(tmp_path),
            "VPN_SERVER_PUBLIC_ADDR": "hub.example.org",
            "VPN_IP": "10.9.0.1",
            "VPN_SUBNET_PREFIX": "24",
            "VPN_MANAGEMENT_IP_ASSIGN": "10.9.0.0/26",
            "VPN_NODE_IP_ASSIGN": "10.9.0.64/26",
            "VPN_RESEARCHER_IP_ASSIGN": "10.9.0.128/25",
        }
    )
    with Hub(settings, device) as hub:
        with pytest.raises(Refused, match="has no addresses left for invitations; set VPN_INVITATION_IP_ASSIGN"):
            invite(hub)
        assert hub.find(NODE) is None


@given(
    prefix=st.integers(8, 30),
    numbers=st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(8, 30)), max_size=4),
)
def test_the_free_range_is_in_the_vpn_and_in_no_range(prefix: int, numbers: list[tuple[int, int]]) -> None:
    hub = IPv4Interface(f"10.0.0.1/{prefix}")
    ranges = [IPv4Network(((10 << 24) + number, length), strict=False) for number, length in numbers]
    found = free_range(hub, ranges)
    if found is not None:
        assert found.subnet_of(hub.network)
        assert hub.ip not in found
        assert not any(found.overlaps(network) for network in ranges)
        assert 16 <= found.prefixlen <= 28


@pytest.mark.parametrize("text", ["", "h", "48", "-1h", "1w", "1.5h", "0h", "99999999d", "\u0661h", "1h "])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"duration; write one such as 30m, 48h or 7d|is not between"):
        when.parse_duration(text, "--valid")


@pytest.mark.parametrize(
    "text", ["", "soon", "2027-13-01", "2027-02-30", "31.01.2027", "1999-01-01", "2027-01-01T25:00"]
)
def test_dates_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no date; write one such as 2027-01-31"):
        when.parse_until(text)


def test_a_day_ends_at_its_end() -> None:
    assert when.parse_until("2027-01-31") == 1801440000.0
    assert when.parse_until("2027-01-31T18:00") == 1801440000.0 - 6 * 3600
    assert when.parse_duration("48h", "--valid") == 172800.0
