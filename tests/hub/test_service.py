"""genconf and add: what is registered, and what wg0 gets."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from tests.hub.peers import key, node
from vpn.lib.errors import InvalidInput, Refused, Unproven
from vpn.lib.hub.service import Hub
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.settings import Settings


def test_genconf_registers_and_writes_the_config(hub: Hub, device: MemoryDevice) -> None:
    done = hub.genconf(node(1))
    assert done.new
    assert (str(done.peer.address), done.peer.public_key, done.peer.created) == ("10.221.0.2", None, 1_000_000.0)
    text = hub.config_path(node(1)).read_text()
    assert f"export VPN_SERVER_PSK={done.peer.preshared_key.reveal()}\n" in text
    assert f"export VPN_SERVER_PUBLIC_KEY={hub.public_key()}\n" in text
    assert device.plans == []


def test_genconf_again_is_the_same_peer_and_puts_the_file_back(hub: Hub) -> None:
    first = hub.genconf(node(1)).peer
    text = hub.config_path(node(1)).read_text()
    hub.config_path(node(1)).unlink()
    again = hub.genconf(node(1))
    assert (again.peer, again.new) == (first, False)
    assert hub.config_path(node(1)).read_text() == text


def test_genconf_keeps_the_key_of_a_peer_that_has_one(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    hub.add(node(1), key(1))
    device.plans.clear()
    assert hub.genconf(node(1)).peer.public_key == key(1)
    assert device.plans == []


@pytest.mark.parametrize(
    ("kind", "identity"),
    [(PeerType.MANAGEMENT, None), (PeerType.NODE, "FEDBIOMED_NODEID"), (PeerType.RESEARCHER, "FEDBIOMED_ID")],
)
def test_each_type_gets_the_variables_of_its_application(hub: Hub, kind: PeerType, identity: str | None) -> None:
    hub.genconf(PeerName(kind, "some"))
    lines = hub.config_path(PeerName(kind, "some")).read_text().splitlines()
    about_application = [line for line in lines if not line.startswith(("#", "export VPN_", "export USE_WG"))]
    if identity is None:
        assert about_application == []
    else:
        assert about_application == [
            "export MQTT_BROKER=10.220.0.2",
            "export MQTT_BROKER_PORT=1883",
            "export UPLOADS_URL=http://10.220.0.3:8000/upload/",
            "export FEDBIOMED_NET_IP=10.220.0.1",
            f"export {identity}=some",
        ]


def test_without_a_public_address_nothing_is_registered(settings: Settings, device: MemoryDevice) -> None:
    with Hub(settings._replace(public_address=""), device) as hub:
        with pytest.raises(InvalidInput, match="VPN_SERVER_PUBLIC_ADDR is not set"):
            hub.genconf(node(1))
        assert list(hub.peers()) == []


def test_add_lets_in_with_the_peers_own_address_and_secret(hub: Hub, device: MemoryDevice) -> None:
    peer = hub.genconf(node(1)).peer
    done = hub.add(node(1), key(1))
    assert (done.changed, done.replaced, done.applied) == (True, None, True)
    held = device.peers[key(1)]
    assert held.allowed_ips == {ip_network("10.221.0.2/32")}
    assert held.preshared_key == peer.preshared_key


def test_add_of_the_same_key_changes_nothing(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    hub.add(node(1), key(1))
    before = hub.peer(node(1))
    device.plans.clear()
    assert not hub.add(node(1), key(1)).changed
    assert hub.peer(node(1)) == before


def test_add_of_another_key_takes_the_former_out_at_once(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    hub.add(node(1), key(1))
    done = hub.add(node(1), key(2))
    assert (done.replaced, done.applied) == (key(1), True)
    assert device.peers.keys() == {key(2)}
    assert hub.peer(node(1)).public_key == key(2)


def test_a_former_key_that_stays_is_reported(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    hub.add(node(1), key(1))
    device.keeps = {key(1)}
    with pytest.raises(Unproven, match="still holds the former key of node node1; restart the hub"):
        hub.add(node(1), key(2))
    assert hub.peer(node(1)).public_key == key(2)


def test_a_key_of_somebody_else_is_refused(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf_all([node(1), node(2)])
    hub.add(node(1), key(1))
    with pytest.raises(Refused, match="belongs to node node1"):
        hub.add(node(2), key(1))
    with pytest.raises(Refused, match="the hub's own public key"):
        hub.add(node(2), hub.public_key())
    assert hub.peer(node(2)).public_key is None
    assert device.peers.keys() == {key(1)}


def test_unknown_peers_are_refused_with_what_to_do(hub: Hub) -> None:
    hub.genconf(node("alpha"))
    for act in (lambda name: hub.add(name, key(1)), hub.remove, hub.peer):
        with pytest.raises(Refused, match="run `genconf node beta` first"):
            act(node("beta"))
    with pytest.raises(Refused, match="but node alpha is; ids are case-sensitive"):
        hub.add(node("ALPHA"), key(1))
    with pytest.raises(Refused, match="differs from node alpha only by case"):
        hub.genconf(node("Alpha"))


def test_without_wg0_changes_are_saved_for_later(hub: Hub, device: MemoryDevice) -> None:
    device.missing = True
    hub.genconf(node(1))
    assert hub.add(node(1), key(1)).applied is None
    assert hub.add(node(1), key(2)).applied is None
    assert hub.peer(node(1)).public_key == key(2)
    assert hub.remove(node(1)).proven is None
    assert hub.peer(node(1)).public_key is None
    assert hub.removeconf(node(1)).proven is None


@pytest.mark.parametrize("trouble", ["hanging", "refusing"])
def test_a_key_that_wg0_did_not_take_is_saved_and_said_so(hub: Hub, device: MemoryDevice, trouble: str) -> None:
    hub.genconf(node(1))
    setattr(device, trouble, True)
    with pytest.raises(Unproven, match="the key of node node1 is saved, but wg0 did not take it: wg0"):
        hub.add(node(1), key(1))
    assert hub.peer(node(1)).public_key == key(1)


def test_a_batch_is_all_or_none(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node("taken"))
    hub.add(node("taken"), key(1))
    before = list(hub.peers())
    for keys in ({node(2): key(1)}, {node(2): hub.public_key()}, {node(1): key(5), node(2): key(5)}):
        with pytest.raises(Refused):
            hub.genconf_all([node(1), node(2)], keys)
    with pytest.raises(Refused, match="only by case"):
        hub.genconf_all([node(1), node("TAKEN")])
    assert list(hub.peers()) == before
    assert device.peers.keys() == {key(1)}
    assert not hub.config_path(node(1)).exists()
    # The addresses of the failed batches were not used up.
    assert str(hub.genconf(node(1)).peer.address) == "10.221.0.3"


def test_a_batch_registers_adds_and_replaces(hub: Hub, device: MemoryDevice) -> None:
    names = [node(number) for number in range(20)]
    hub.genconf(names[0])
    hub.add(names[0], key(1000))
    done = hub.genconf_all([*names, names[3]], {name: key(number) for number, name in enumerate(names)})
    assert [item.new for item in done] == [False, *[True] * 19, False]
    assert device.peers.keys() == {key(number) for number in range(20)}
    assert all(f"VPN_IP={hub.peer(name).address}\n" in hub.config_path(name).read_text() for name in names)
    assert len({hub.peer(name).address for name in names}) == 20


def test_an_address_is_kept_until_removeconf(hub: Hub) -> None:
    first = hub.genconf(node(1)).peer
    hub.add(node(1), key(1))
    hub.remove(node(1))
    assert hub.genconf(node(1)).peer.address == first.address
    hub.genconf(node(2))
    hub.removeconf(node(1))
    again = hub.genconf(node(1)).peer
    assert str(again.address) == "10.221.0.4"
    assert again.preshared_key != first.preshared_key
