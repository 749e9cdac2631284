"""Keys that leaked: refused for ever, whoever comes with them, and whatever becomes of the registry."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.hub.memory_device import Killed
from tests.hub.peers import key, node
from tests.registry.snapshot import mode_of
from vpn.lib.errors import Refused, StateError, Unproven
from vpn.lib.hub import projections, state
from vpn.lib.hub.service import Hub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.settings import Settings

FOR_EVER = "that public key was marked as leaked and is refused for ever; make node node[0-9] a new one"


@pytest.fixture
def two(hub: Hub) -> Hub:
    """node1 and node2 with key(1) and key(2), both in."""
    hub.genconf_all([node(1), node(2)], {node(1): key(1), node(2): key(2)})
    return hub


@pytest.fixture
def file(settings: Settings) -> Path:
    """The file that outlives the registry."""
    return settings.folder / "wireguard" / "leaked-keys"


def refused(hub: Hub, number: int) -> None:
    """The key is refused for both peers, by both ways."""
    for name in (node(1), node(2), node(3)):
        before = list(hub.peers())
        with pytest.raises(Refused, match=FOR_EVER):
            hub.genconf_all([name], {name: key(number)})
        assert list(hub.peers()) == before
    with pytest.raises(Refused, match=FOR_EVER):
        hub.add(node(2), key(number))


@pytest.mark.parametrize("forget", [False, True])
def test_a_leaked_key_is_out_and_refused_for_everybody(two: Hub, device: MemoryDevice, forget: bool) -> None:
    done = two.removeconf(node(1), leaked=True) if forget else two.remove(node(1), leaked=True)
    assert (done.removed_key, done.proven, done.leaked) == (key(1), True, key(1))
    assert device.peers.keys() == {key(2)}
    refused(two, 1)
    two.genconf(node(1))
    assert two.add(node(1), key(5)).applied


def test_a_plain_removal_lets_the_key_in_again(two: Hub, device: MemoryDevice) -> None:
    assert two.remove(node(1)).leaked is None
    assert two.add(node(1), key(1)).applied
    assert device.peers.keys() == {key(1), key(2)}


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_key_can_be_marked_after_it_was_taken_away(two: Hub, forgotten: bool) -> None:
    if forgotten:
        two.removeconf(node(1))
        done = two.removeconf(node(1), leaked=True)
    else:
        two.remove(node(1))
        done = two.remove(node(1), leaked=True)
    assert (done.removed_key, done.leaked) == (None, key(1))
    refused(two, 1)


def test_marking_again_is_no_error_and_no_entry(two: Hub) -> None:
    two.remove(node(1), leaked=True)
    before = two.chain()
    assert two.remove(node(1), leaked=True).leaked == key(1)
    assert two.chain() == before


def test_a_peer_without_a_key_to_mark_is_refused_and_stays(two: Hub) -> None:
    two.genconf(node(3))
    before = list(two.peers()), two.chain()
    for removal in (two.remove, two.removeconf):
        with pytest.raises(Refused, match="node node3 never had a key that could have leaked; look at `list`"):
            removal(node(3), leaked=True)
    assert (list(two.peers()), two.chain()) == before


def test_a_key_that_another_peer_has_got_since_is_told(two: Hub, device: MemoryDevice) -> None:
    two.remove(node(1))
    two.add(node(2), key(1))
    with pytest.raises(Refused, match="is the one of node node2 now; `remove node node2 --leaked` takes it away"):
        two.remove(node(1), leaked=True)
    two.remove(node(2), leaked=True)
    assert not device.peers
    refused(two, 1)


def test_the_database_itself_refuses_it(two: Hub, settings: Settings) -> None:
    two.remove(node(1), leaked=True)
    with closing(sqlite3.connect(state.registry_path(settings), isolation_level=None)) as database:
        for statement in (
            "UPDATE peer SET public_key = (SELECT public_key FROM leaked) WHERE id = 'node1'",
            "UPDATE peer SET public_key = (SELECT public_key FROM leaked) WHERE id = 'node2'",
            "DELETE FROM leaked",
            "UPDATE leaked SET public_key = zeroblob(32)",
        ):
            with pytest.raises(sqlite3.IntegrityError, match=r"leaked|append-only"):
                database.execute(statement)


def test_it_is_marked_also_where_wg0_cannot_prove_it(two: Hub, device: MemoryDevice, file: Path) -> None:
    device.keeps = {key(1)}
    with pytest.raises(Unproven):
        two.remove(node(1), leaked=True)
    assert str(key(1)) in file.read_text()
    refused(two, 1)


def test_one_that_was_killed_after_its_commit_is_finished_by_the_retry(
    two: Hub, settings: Settings, device: MemoryDevice, file: Path
) -> None:
    device.killed_at = 0
    with pytest.raises(Killed):
        two.remove(node(1), leaked=True)
    file.unlink(missing_ok=True)
    with Hub(settings, device) as again:
        assert again.remove(node(1), leaked=True).leaked == key(1)
    assert device.peers.keys() == {key(2)}
    assert str(key(1)) in file.read_text()


def test_a_registry_that_is_lost_takes_no_leaked_key_back(
    two: Hub, settings: Settings, device: MemoryDevice, file: Path
) -> None:
    with closing(state.open_registry(settings, lambda _: None)) as registry:
        for _ in projections.write_wg_conf(settings, registry):
            pass
    # wg0.conf is older than the removal, as it is where the hub does not run.
    two.remove(node(1), leaked=True)
    assert mode_of(file) == 0o600
    two.__exit__()
    state.registry_path(settings).unlink()
    told: list[state.Notice] = []
    with Hub(settings, device, notify=told.append) as rebuilt:
        assert {peer.name: peer.public_key for peer in rebuilt.peers()} == {node(1): None, node(2): key(2)}
        assert any("the key of node node1: it was marked as leaked; `add` another" in notice.text for notice in told)
        refused(rebuilt, 1)


@pytest.mark.parametrize("content", ["half", "9eUh3Y/mlDJlZf+l3eRYUn7vtDSGW1T0qEXdRMAbwB\n"])
def test_a_damaged_list_of_leaked_keys_is_not_passed_over(
    two: Hub, settings: Settings, device: MemoryDevice, file: Path, content: str
) -> None:
    with closing(state.open_registry(settings, lambda _: None)) as registry:
        for _ in projections.write_wg_conf(settings, registry):
            pass
    two.__exit__()
    state.registry_path(settings).unlink()
    file.write_text(content)
    with pytest.raises(StateError, match=r"leaked-keys is damaged: put a copy back, or remove it to forget which"):
        Hub(settings, device)
    assert not state.registry_path(settings).exists()
