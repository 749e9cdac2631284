"""remove and removeconf: out means out, and proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.hub.memory_device import Killed
from tests.hub.peers import key, node
from vpn.lib.errors import StateError, Unproven
from vpn.lib.hub.service import Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.outcomes import Removed
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import PeerName

Removal: TypeAlias = "Callable[[Hub, PeerName], Removed]"
REMOVALS: list[Removal] = [Hub.remove, Hub.removeconf]


@pytest.fixture
def two(hub: Hub) -> Hub:
    """node1 and node2 with key(1) and key(2), both in."""
    hub.genconf_all([node(1), node(2)], {node(1): key(1), node(2): key(2)})
    return hub


def test_remove_takes_the_key_and_keeps_address_and_config(two: Hub, device: MemoryDevice) -> None:
    before = two.peer(node(1))
    text = two.config_path(node(1)).read_text()
    done = two.remove(node(1))
    assert (done.removed_key, done.proven) == (key(1), True)
    assert device.peers.keys() == {key(2)}
    assert two.peer(node(1)) == before._replace(public_key=None)
    assert two.config_path(node(1)).read_text() == text


def test_remove_again_says_that_there_was_nothing(two: Hub) -> None:
    two.remove(node(1))
    assert two.remove(node(1)).removed_key is None


def test_removeconf_forgets_everything(two: Hub, device: MemoryDevice) -> None:
    address = two.peer(node(1)).address
    done = two.removeconf(node(1))
    assert done.peer is not None
    assert (done.peer.address, done.removed_key, done.proven) == (address, key(1), True)
    assert device.peers.keys() == {key(2)}
    assert [peer.name for peer in two.peers()] == [node(2)]
    assert not two.config_path(node(1)).parent.exists()
    assert two.removeconf(node(1)).peer is None


def test_removeconf_leaves_what_others_put_beside_the_config(two: Hub) -> None:
    notes = two.config_path(node(1)).with_name("notes.txt")
    notes.write_text("mine")
    two.removeconf(node(1))
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("removal", REMOVALS)
def test_a_device_that_keeps_the_key_is_reported(two: Hub, device: MemoryDevice, removal: Removal) -> None:
    device.keeps = {key(1)}
    with pytest.raises(Unproven, match="node node1 is removed from the registry, but wg0 still holds its key"):
        removal(two, node(1))
    assert key(1) not in {peer.public_key for peer in two.peers()}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("trouble", ["hanging", "refusing"])
def test_a_device_that_cannot_prove_it_is_reported(
    two: Hub, device: MemoryDevice, removal: Removal, trouble: str
) -> None:
    setattr(device, trouble, True)
    with pytest.raises(Unproven, match=r"removed from the registry, but wg0 cannot prove it: wg0.*run this again"):
        removal(two, node(1))
    assert key(1) not in {peer.public_key for peer in two.peers()}
    setattr(device, trouble, False)
    assert removal(two, node(1)).proven is True
    assert device.peers.keys() == {key(2)}


@pytest.mark.parametrize("removal", REMOVALS)
def test_a_device_that_lies_once_is_found_out_by_the_retry(two: Hub, device: MemoryDevice, removal: Removal) -> None:
    device.deaf = True
    with pytest.raises(Unproven):
        removal(two, node(1))
    with pytest.raises(Unproven, match="keys that are not registered and does not give them up; restart the hub"):
        removal(two, node(1))
    device.deaf = False
    assert removal(two, node(1)).proven is True
    assert device.peers.keys() == {key(2)}


@pytest.mark.parametrize("removal", REMOVALS)
def test_a_removal_that_was_killed_before_wg0_is_finished_by_the_retry(
    settings: Settings, two: Hub, device: MemoryDevice, removal: Removal
) -> None:
    device.killed_at = 0
    with pytest.raises(Killed):
        removal(two, node(1))
    assert key(1) in device.peers
    with Hub(settings, device) as again:
        assert again.peer(node(2)).public_key == key(2)
        assert removal(again, node(1)).proven is True
    assert device.peers.keys() == {key(2)}


def test_a_link_in_the_place_of_the_config_keeps_the_peer_known_but_not_in(two: Hub, device: MemoryDevice) -> None:
    folder = two.config_path(node(1)).parent
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    with pytest.raises(StateError, match="symbolic link"):
        two.removeconf(node(1))
    assert two.peer(node(1)).public_key == key(1)
    two.remove(node(1))
    assert device.peers.keys() == {key(2)}
    assert folder.with_name("elsewhere").joinpath("config.env").exists()
