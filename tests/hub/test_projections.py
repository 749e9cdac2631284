"""wg0.conf and the tree, made again from the registry."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.hub.memory_device import MemoryDevice
from tests.hub.peers import key, node
from tests.registry.snapshot import difference, mode_of, snapshot
from vpn.lib.hub import projections, state
from vpn.lib.hub.service import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry

LOG = logging.getLogger("test")
COUNT = 120


@pytest.fixture
def registry(hub: Hub, settings: Settings) -> Iterator[Registry]:
    """A registry of many peers, every second one with a key."""
    names = [node(number) for number in range(COUNT)]
    hub.genconf_all(names, {name: key(number) for number, name in enumerate(names) if number % 2})
    opened = state.open_registry(settings, lambda _: None)
    yield opened
    opened.close()


@pytest.fixture
def tree(settings: Settings) -> Path:
    """The nodes' folder."""
    return settings.folder / "config_peers" / "node"


def test_the_tree_is_repaired_and_the_rest_left_alone(
    registry: Registry, settings: Settings, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = snapshot(tree)
    (tree / "node0/config.env").unlink()
    (tree / "node1/config.env").write_text("changed")
    (tree / "node2/config.env").chmod(0o644)
    shutil.rmtree(tree / "node3")
    with caplog.at_level(logging.INFO):
        list(projections.repair_tree(settings, registry, LOG))
    assert difference(before, snapshot(tree)) == []
    assert "wrote 4 config.env" in caplog.text
    caplog.clear()
    list(projections.repair_tree(settings, registry, LOG))
    assert caplog.text == ""


def test_a_planted_link_stops_one_peer_only(
    registry: Registry, settings: Settings, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "node0").rename(settings.folder / "target")
    (tree / "node0").symlink_to(settings.folder / "target")
    (tree / "node1/config.env").unlink()
    target = snapshot(settings.folder / "target")
    list(projections.repair_tree(settings, registry, LOG))
    assert (tree / "node1/config.env").exists()
    assert difference(target, snapshot(settings.folder / "target")) == []
    assert "node node0" in caplog.text


def test_the_repair_follows_removals_that_come_in_between(
    hub: Hub, registry: Registry, settings: Settings, tree: Path
) -> None:
    repair = projections.repair_tree(settings, registry, LOG)
    next(repair)
    hub.removeconf(node(COUNT - 1))
    list(repair)
    assert not (tree / f"node{COUNT - 1}").exists()


def test_wg_conf_holds_who_has_a_key_and_no_lost_registry_is_a_lost_hub(
    hub: Hub, registry: Registry, settings: Settings
) -> None:
    list(projections.write_wg_conf(settings, registry))
    path = settings.folder / "wireguard" / "wg0.conf"
    assert mode_of(path) == 0o600
    text = path.read_text()
    assert text.count("[Peer]") == COUNT // 2
    assert "Address = 10.220.0.1/14\nMTU = 1420\nListenPort = 51820\n" in text
    before = list(hub.peers())
    # Lost, with all but the projections.
    state.registry_path(settings).unlink()
    with Hub(settings, MemoryDevice()) as rebuilt:
        assert rebuilt.public_key() == hub.public_key()
        known = [(peer.name, peer.address, peer.preshared_key, peer.public_key) for peer in rebuilt.peers()]
    assert known == [(peer.name, peer.address, peer.preshared_key, peer.public_key) for peer in before]


def test_commands_go_on_between_the_steps(hub: Hub, registry: Registry, settings: Settings) -> None:
    # A step that held the lock, or the registry, would make this wait for 30 s and fail.
    for work in (projections.write_wg_conf(settings, registry), projections.repair_tree(settings, registry, LOG)):
        for number, _ in enumerate(work):
            hub.genconf(node(1000 + number))
