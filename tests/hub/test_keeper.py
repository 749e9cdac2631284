"""Keeping wg0 as the registry says."""

from __future__ import annotations

import logging
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import TYPE_CHECKING, Self, cast

import pytest

from tests.hub.peers import key, node
from vpn.lib.errors import DeviceTimeout, StateError
from vpn.lib.hub import state
from vpn.lib.hub.keeper import Keeper
from vpn.lib.wireguard.daemons import BORINGTUN
from vpn.lib.wireguard.plan import Plan
from vpn.lib.wireguard.types import Endpoint, WantedPeer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry
    from vpn.lib.wireguard.tunnel import Tunnel

SEEN = Endpoint(ip_address("192.0.2.7"), 4321)
MOVED = Endpoint(ip_address("192.0.2.8"), 4321)


@pytest.fixture
def registry(hub: Hub, settings: Settings) -> Iterator[Registry]:
    """The daemon's own connection, as to another process's registry; three peers, two with keys."""
    hub.genconf_all([node(1), node(2), node(3)], {node(1): key(1), node(2): key(2)})
    opened = state.open_registry(settings, lambda _: None)
    yield opened
    opened.close()


@pytest.fixture
def keeper(registry: Registry, settings: Settings, device: MemoryDevice) -> Keeper:
    """A keeper that has filled wg0."""
    kept = made(registry, settings, device)
    kept.fill()
    device.plans.clear()
    return kept


def made(registry: Registry, settings: Settings, device: MemoryDevice, *, kernel: bool = False) -> Keeper:
    """A keeper of a tunnel that is the device in memory."""
    tunnel = SimpleNamespace(device=device, daemon=None if kernel else BORINGTUN, interface="wg0")
    return Keeper(settings, registry, cast("Tunnel", tunnel), logging.getLogger("test"))


def seen(device: MemoryDevice, number: int, endpoint: Endpoint | None, handshake: float | None = 1000.0) -> None:
    """Let the device have learnt where a peer is."""
    device.peers[key(number)] = device.peers[key(number)]._replace(endpoint=endpoint, latest_handshake=handshake)


@pytest.mark.parametrize("kernel", [False, True])
def test_a_fresh_device_is_filled_whole(
    registry: Registry, settings: Settings, device: MemoryDevice, kernel: bool
) -> None:
    device.__init__()  # type: ignore[misc]
    kept = made(registry, settings, device, kernel=kernel)
    kept.fill()
    assert device.private_key == registry.private_key()
    assert device.listen_port == 51820
    assert {str(public): str(*peer.allowed_ips) for public, peer in device.peers.items()} == {
        str(key(1)): "10.221.0.2/32",
        str(key(2)): "10.221.0.3/32",
    }
    assert kept.peer_count == 2
    device.plans.clear()
    kept.reconcile()
    assert device.plans == []


def test_drift_is_repaired_and_told(keeper: Keeper, device: MemoryDevice, caplog: pytest.LogCaptureFixture) -> None:
    before = dict(device.peers)
    stranger = WantedPeer(key(66), None, frozenset({ip_network("10.221.0.3/32")}))
    device.apply(Plan(add=(stranger,)))
    del device.peers[key(1)]
    keeper.reconcile()
    assert device.peers == before
    assert "wg0 differed from the registry: removed 1 peers, set 1, added 1" in caplog.text
    caplog.clear()
    keeper.reconcile()
    assert caplog.text == ""


def test_another_key_or_port_of_the_device_is_repaired(
    keeper: Keeper, registry: Registry, device: MemoryDevice
) -> None:
    device.private_key, device.listen_port = None, 1
    keeper.reconcile()
    assert device.read().public_key == registry.public_key()
    assert device.listen_port == 51820
    assert device.peers.keys() == {key(1), key(2)}


def test_changes_of_other_processes_are_followed(keeper: Keeper, hub: Hub, device: MemoryDevice) -> None:
    device.missing = True
    hub.add(node(3), key(3))
    hub.remove(node(1))
    device.missing = False
    assert keeper.changed_elsewhere()
    keeper.reconcile()
    assert device.peers.keys() == {key(2), key(3)}
    assert not keeper.changed_elsewhere()


def test_endpoints_are_remembered_only_with_a_handshake(
    keeper: Keeper, registry: Registry, device: MemoryDevice
) -> None:
    seen(device, 1, SEEN)
    seen(device, 2, SEEN, handshake=None)
    keeper.reconcile()
    assert registry.endpoints() == {key(1): SEEN}
    seen(device, 1, MOVED)
    keeper.reconcile()
    assert registry.endpoints() == {key(1): MOVED}


def test_an_endpoint_is_remembered_again_for_a_peer_that_was_let_in_again(
    keeper: Keeper, hub: Hub, registry: Registry, device: MemoryDevice
) -> None:
    seen(device, 1, SEEN)
    keeper.reconcile()
    hub.remove(node(1))
    keeper.reconcile()
    hub.add(node(1), key(1))
    seen(device, 1, SEEN)
    keeper.reconcile()
    assert registry.endpoints() == {key(1): SEEN}


def test_a_fresh_device_gets_the_known_endpoints_and_first_words_go_there(
    keeper: Keeper,
    registry: Registry,
    settings: Settings,
    device: MemoryDevice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen(device, 1, SEEN)
    keeper.reconcile()
    device.__init__()  # type: ignore[misc]
    sent: list[tuple[bytes, tuple[str, int]]] = []
    monkeypatch.setattr("vpn.lib.hub.keeper.socket.socket", lambda *_: Sender(sent))
    again = made(registry, settings, device)
    again.fill()
    assert device.peers[key(1)].endpoint == SEEN
    assert device.peers[key(2)].endpoint is None
    assert not again.speak(0.0)
    # Into the tunnel, to the peer's own address: the daemon shakes hands to deliver it.
    assert sent == [(b"\0", ("10.221.0.2", 9))]
    assert not again.speak(10.0)
    assert len(sent) == 1


def test_a_peer_that_is_let_in_again_is_looked_for_where_it_was(keeper: Keeper, hub: Hub, device: MemoryDevice) -> None:
    seen(device, 1, SEEN)
    keeper.reconcile()
    hub.remove(node(1))
    hub.add(node(1), key(1))
    assert device.peers[key(1)].endpoint is None
    keeper.reconcile()
    assert device.peers[key(1)].endpoint == SEEN
    assert keeper.has_words
    device.plans.clear()
    keeper.reconcile()
    assert device.plans == []


def test_first_words_keep_to_the_daemons_pace(
    hub: Hub, registry: Registry, settings: Settings, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [node(number) for number in range(100, 250)]
    hub.genconf_all(many, {name: key(number) for number, name in enumerate(many, start=100)})
    registry.save_endpoints({key(number): SEEN for number in range(100, 250)})
    sent: list[tuple[bytes, tuple[str, int]]] = []
    monkeypatch.setattr("vpn.lib.hub.keeper.socket.socket", lambda *_: Sender(sent))
    kept = made(registry, settings, device)
    kept.fill()
    # boringtun counts 100 handshakes in a window of up to 2 s; 10 are left to the clients.
    assert kept.speak(0.0)
    assert len(sent) == 90
    assert kept.speak(1.9)
    assert len(sent) == 90
    assert not kept.speak(2.2)
    assert len({place for _, place in sent}) == 150


def test_a_hanging_device_is_reported_to_the_daemon(keeper: Keeper, device: MemoryDevice) -> None:
    device.hanging = True
    with pytest.raises(DeviceTimeout):
        keeper.reconcile()


def test_a_deleted_registry_never_empties_wg0(keeper: Keeper, settings: Settings, device: MemoryDevice) -> None:
    state.registry_path(settings).unlink()
    with pytest.raises(StateError, match="the registry was replaced or deleted while"):
        keeper.reconcile()
    assert device.peers.keys() == {key(1), key(2)}


class Sender:
    """Stands for the UDP socket that the first words go out of."""

    def __init__(self, sent: list[tuple[bytes, tuple[str, int]]]) -> None:
        self._sent = sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def sendto(self, data: bytes, place: tuple[str, int]) -> None:
        self._sent.append((data, place))
