"""``export --all``: what is left of one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.peers import node
from vpn.lib import files
from vpn.lib.errors import StateError
from vpn.lib.hub import client_config
from vpn.lib.hub.outcomes import Terms

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.service import Hub


def break_after(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let the writing of files fail from the one with this number on."""
    write_at = files.write_at
    written: list[str] = []

    def failing(directory: int, name: str, data: bytes, *, durable: bool = True) -> None:
        if len(written) == number:
            raise error
        written.append(name)
        write_at(directory, name, data, durable=durable)

    monkeypatch.setattr(files, "write_at", failing)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_nothing_is_left_of_an_export_that_fails(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, there: bool
) -> None:
    hub.genconf_all([node(1), node(2), node(3)])
    folder = tmp_path / "all"
    if there:
        folder.mkdir()
    break_after(monkeypatch, number, OSError(28, "No space left on device"))
    with pytest.raises(StateError, match="all: No space left on device; free some space"):
        client_config.export_all(hub, folder)
    assert folder.exists() == there
    if there:
        assert not list(folder.iterdir())


def test_nothing_is_left_of_an_export_that_is_interrupted(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.genconf_all([node(1), node(2)])
    break_after(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        client_config.export_all(hub, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_an_invitation_is_exported_with_its_config_env(hub: Hub, tmp_path: Path) -> None:
    hub.genconf(node(1), Terms(valid=3600.0))
    assert client_config.export_all(hub, tmp_path / "all") == 1
    text = (tmp_path / "all" / "node" / "node1" / "config.env").read_text()
    assert "VPN_INVITATION_KEY=" in text
    assert text == hub.config_path(node(1)).read_text()
