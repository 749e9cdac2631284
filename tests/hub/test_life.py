"""What happens to a peer after its registration."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tests.hub.peers import key
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.hub import invitations, life, state
from vpn.lib.hub.keeper import Keeper
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.service import Hub
from vpn.lib.hub.wanted import all_wanted
from vpn.lib.registry.peer import PeerName, PeerType, Standing
from vpn.lib.wireguard.daemons import BORINGTUN
from vpn.lib.wireguard.keys import PresharedKey

if TYPE_CHECKING:
    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.settings import Settings
    from vpn.lib.wireguard.tunnel import Tunnel

NODE = PeerName(PeerType.NODE, "node1")
NOW = 1_000_000.0


def member(hub: Hub, name: PeerName = NODE, number: int = 1) -> None:
    hub.genconf(name)
    hub.add(name, key(number))


def expire(hub: Hub, settings: Settings, clock: float) -> list[PeerName]:
    registry = state.open_registry(settings, lambda _: None)
    try:
        return life.expire(settings, registry, clock)
    finally:
        registry.close()


def test_a_disabled_peer_is_out_and_keeps_what_it_has(hub: Hub, device: MemoryDevice) -> None:
    member(hub)
    before = hub.peer(NODE)
    assert life.disable(hub, NODE).proven
    assert key(1) not in device.peers
    assert hub.peer(NODE) == before._replace(standing=Standing.DISABLED, changed=NOW)
    assert life.disable(hub, NODE).proven
    assert life.enable(hub, NODE).applied
    assert key(1) in device.peers
    assert hub.peer(NODE) == before._replace(changed=NOW)
    assert not life.enable(hub, NODE).changed


def test_a_key_that_is_added_to_a_disabled_peer_waits_for_enable(hub: Hub, device: MemoryDevice) -> None:
    member(hub)
    life.disable(hub, NODE)
    hub.add(NODE, key(2))
    assert not device.peers
    life.enable(hub, NODE)
    assert device.peers.keys() == {key(2)}


def test_who_reaches_the_end_is_out_and_comes_back_with_more_time(
    hub: Hub, device: MemoryDevice, settings: Settings
) -> None:
    member(hub)
    hub.genconf(NODE, Terms(until=NOW + 10))
    assert expire(hub, settings, NOW + 9) == []
    assert expire(hub, settings, NOW + 10) == [NODE]
    assert hub.peer(NODE).standing is Standing.EXPIRED
    assert list(all_wanted(hub)) == []
    with pytest.raises(Refused, match="has expired; `genconf node node1 --until DATE` gives it more time"):
        life.enable(hub, NODE)
    with Hub(settings, device, clock=lambda: NOW + 20) as later:
        with pytest.raises(Refused, match="which is over"):
            later.genconf(NODE, Terms(until=NOW + 15))
        later.genconf(NODE, Terms(until=NOW + 30))
        assert later.peer(NODE).standing is Standing.ENABLED
        assert key(1) in device.peers
        later.genconf(NODE, Terms(until=math.inf))
        assert later.peer(NODE).until is None
        assert expire(later, settings, NOW + 31) == []


def test_an_invitation_ends_with_its_peer(hub: Hub, device: MemoryDevice, settings: Settings) -> None:
    made = hub.genconf(NODE, Terms(until=NOW + 10, valid=3600)).invitation
    assert made is not None
    assert expire(hub, settings, NOW + 10) == [NODE]
    assert list(hub.invitations()) == []
    assert list(all_wanted(hub)) == []
    with pytest.raises(Refused, match="no such invitation"):
        invitations.enrol(hub, made.address, key(1), PresharedKey(bytes([7] * 32)))


def test_a_removed_peer_is_not_asked_for_new_keys_when_it_is_back(hub: Hub) -> None:
    member(hub)
    life.ask_rotation(hub, NODE)
    hub.remove(NODE)
    hub.add(NODE, key(2))
    assert hub.peer(NODE).rotation is None


def test_a_clock_that_is_set_back_gives_nobody_more_time(
    hub: Hub, device: MemoryDevice, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    member(hub)
    hub.genconf(NODE, Terms(until=NOW + 10))
    with Hub(settings, device, clock=lambda: NOW + 11) as later:
        later.genconf(PeerName(PeerType.NODE, "other"))
    # The machine's clock is far later than all of this in truth; the registry's time alone is what counts here.
    registry = state.open_registry(settings, lambda _: None)
    tunnel = SimpleNamespace(device=device, daemon=BORINGTUN, interface="wg0")
    keeper = Keeper(settings, registry, cast("Tunnel", tunnel), logging.getLogger("test"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vpn.lib.hub.keeper.time.time", lambda: NOW)
        with caplog.at_level(logging.INFO, logger="test"):
            keeper.reconcile()
    registry.close()
    assert key(1) not in device.peers
    assert "node node1 has expired" in caplog.text


def test_a_renamed_peer_keeps_address_keys_and_tunnel(hub: Hub, device: MemoryDevice) -> None:
    member(hub)
    before = hub.peer(NODE)
    former = hub.config_path(NODE)
    device.plans.clear()
    fresh = life.rename(hub, NODE, "chu-lille")
    assert fresh == before._replace(name=PeerName(PeerType.NODE, "chu-lille"))
    assert hub.find(NODE) is None
    assert device.plans == []
    assert not former.exists()
    assert "FEDBIOMED_NODEID=chu-lille" in hub.config_path(fresh.name).read_text()
    # And again: nothing is left to do, and nothing is refused.
    assert life.rename(hub, NODE, "chu-lille") == fresh


@pytest.mark.parametrize(
    ("name", "new_id", "why"),
    [
        (NODE, "Other", "node other is registered already"),
        (NODE, "../x", "is no id"),
        (PeerName(PeerType.MANAGEMENT, "mqtt"), "broker", "management mqtt is found by its name"),
        (PeerName(PeerType.MANAGEMENT, "extra"), "restful", "management restful is found by its name"),
        (PeerName(PeerType.NODE, "nobody"), "x", "node nobody is not registered"),
    ],
)
def test_names_that_cannot_be_given(hub: Hub, name: PeerName, new_id: str, why: str) -> None:
    member(hub)
    hub.genconf(PeerName(PeerType.NODE, "other"))
    with pytest.raises((Refused, InvalidInput), match=why):
        life.rename(hub, name, new_id)


def test_a_name_may_change_its_case(hub: Hub) -> None:
    member(hub)
    assert life.rename(hub, NODE, "Node1").name.id == "Node1"
    assert [peer.name.id for peer in hub.peers()] == ["Node1"]


def test_the_key_that_is_taken_by_a_renamed_peer_can_still_be_marked_as_leaked(hub: Hub) -> None:
    member(hub)
    hub.remove(NODE)
    life.rename(hub, NODE, "renamed")
    assert hub.remove(PeerName(PeerType.NODE, "renamed"), leaked=True).leaked == key(1)


@pytest.mark.parametrize("prepare", ["registered", "disabled"])
def test_there_is_nothing_to_rotate(hub: Hub, prepare: str) -> None:
    hub.genconf(NODE)
    if prepare == "disabled":
        hub.add(NODE, key(1))
        life.disable(hub, NODE)
    with pytest.raises(Refused, match="there is nothing to rotate"):
        life.ask_rotation(hub, NODE)


def test_a_rehearsal_changes_nothing(hub: Hub, device: MemoryDevice) -> None:
    member(hub)
    hub.genconf(NODE, Terms(valid=60))
    before = (list(hub.peers()), list(hub.invitations()), list(hub.records()), dict(device.peers))
    device.plans.clear()
    text = hub.config_path(NODE).read_text()
    assert life.disable(hub, NODE, dry_run=True).withdrawn
    assert life.rename(hub, NODE, "x", dry_run=True).name.id == "x"
    assert life.ask_rotation(hub, NODE, dry_run=True).rotation == NOW
    assert hub.genconf(PeerName(PeerType.NODE, "new"), Terms(valid=5), dry_run=True).invitation is not None
    assert hub.add(NODE, key(2), dry_run=True).changed
    assert hub.remove(NODE, dry_run=True).removed_key == key(1)
    assert hub.removeconf(NODE, dry_run=True).peer is not None
    assert (list(hub.peers()), list(hub.invitations()), list(hub.records()), dict(device.peers)) == before
    assert device.plans == []
    assert hub.config_path(NODE).read_text() == text
    assert not hub.config_path(PeerName(PeerType.NODE, "new")).exists()
