"""Opening the state directory: new, taken over, refused."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.hub.memory_device import MemoryDevice
from tests.hub.peers import key, node
from tests.registry.snapshot import OLDER_INSTALLATION, difference, snapshot
from vpn.lib.errors import StateError
from vpn.lib.hub import state
from vpn.lib.hub.service import Hub

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings

HUB_KEY = "hz/NyurGqpK+X0Fd7921J+VrkujaC2e+W13SnfkS1xo="


@pytest.fixture
def older(settings: Settings) -> Settings:
    """Settings with an older installation in their folder."""
    shutil.copytree(OLDER_INSTALLATION, settings.folder, dirs_exist_ok=True)
    return settings


def opened(settings: Settings) -> list[state.Notice]:
    """Open the registry once; what was told."""
    notices: list[state.Notice] = []
    Hub(settings, MemoryDevice(), notify=notices.append).__exit__()
    return notices


def test_a_new_hub_makes_its_key_once(settings: Settings) -> None:
    assert opened(settings) == []
    with Hub(settings, MemoryDevice()) as first, Hub(settings, MemoryDevice()) as second:
        assert first.public_key() == second.public_key()


def test_an_older_hub_is_taken_over_once_with_a_backup(older: Settings) -> None:
    told = [notice.text for notice in opened(older) if not notice.warning]
    (backup,) = older.folder.glob("backup-*")
    assert told == [
        f"took over an older installation: 6 peers, 5 of them with a key; a copy of it is in {backup}",
    ]
    assert opened(older) == []
    assert len(list(older.folder.glob("backup-*"))) == 1
    with Hub(older, MemoryDevice()) as hub:
        assert str(hub.public_key()) == HUB_KEY
        assert hub.add(node("never-added"), key(1)).changed
        assert str(hub.genconf(node(9)).peer.address) == "10.221.0.5"


@pytest.mark.parametrize("content", ["", "[Interface]\nListenPort = 51820\n", None])
def test_a_refused_takeover_changes_nothing(older: Settings, content: str | None) -> None:
    path = older.folder / "wireguard" / "wg0.conf"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    before = snapshot(older.folder)
    for _ in range(2):
        with pytest.raises(StateError, match=r"wg0.conf"):
            opened(older)
    assert difference(before, snapshot(older.folder)) == []


def test_what_could_not_be_taken_over_is_warned_about(older: Settings) -> None:
    (older.folder / "config_peers/node/node1/config.env").write_text("")
    warnings = [notice.text for notice in opened(older) if notice.warning]
    assert any(text.startswith("not taken over: node node1: ") and "or repair its files" in text for text in warnings)


def test_loosened_modes_are_warned_about_and_repaired(settings: Settings) -> None:
    opened(settings)
    path = state.registry_path(settings)
    path.chmod(0o664)
    path.parent.chmod(0o711)
    told = opened(settings)
    assert sorted(notice.text.rpartition(" its mode is ")[2] for notice in told) == ["0600 again", "0700 again"]
    assert all(notice.warning for notice in told)
    assert opened(settings) == []


def test_an_open_registry_does_not_lock_out_others(settings: Settings) -> None:
    opened(settings)
    with (
        closing(state.open_registry(settings, lambda _: None)) as registry,
        Hub(settings, MemoryDevice()) as hub,
    ):
        list(registry.peers())
        hub.genconf(node(1))
        assert [peer.name for peer in registry.peers()] == [node(1)]
