"""A state directory for the scripts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bin.scripts import Scripts, public_key
from tests.registry.snapshot import OLDER_INSTALLATION

HUB_CONFIG = "export VPN_SERVER_PUBLIC_ADDR=hub.example.org\n"


@pytest.fixture(scope="session", autouse=True)
def _no_other_hub() -> None:
    # The commands act on wg0 where a daemon carries one; these tests are about the state on disk.
    assert not Path("/run/wireguard/wg0.sock").exists(), "a hub or component runs on this machine; stop it first"


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "config.env").write_text(HUB_CONFIG)
    scripts = Scripts(folder, folder)
    scripts.done("genconf", "node", "node1")
    scripts.done("genconf", "node", "node2")
    scripts.done("add", "node", "node2", public_key(2))
    scripts.done("genconf", "researcher", "node1")
    return folder


@pytest.fixture
def hub(tmp_path: Path, _prepared: Path) -> Scripts:
    """A hub with node1 (no key), node2 (public_key(2)) and researcher node1; no daemon."""
    folder = tmp_path / "config"
    shutil.copytree(_prepared, folder)
    (tmp_path / "elsewhere").mkdir()
    return Scripts(folder, tmp_path / "elsewhere")


@pytest.fixture
def fresh(tmp_path: Path) -> Scripts:
    """A state directory with nothing in it but the hub's config.env."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.env").write_text(HUB_CONFIG)
    (tmp_path / "elsewhere").mkdir()
    return Scripts(folder, tmp_path / "elsewhere")


@pytest.fixture
def older(tmp_path: Path) -> Scripts:
    """An older installation, with the hub's config.env."""
    folder = tmp_path / "config"
    shutil.copytree(OLDER_INSTALLATION, folder)
    (folder / "config.env").write_text(HUB_CONFIG)
    (tmp_path / "elsewhere").mkdir()
    return Scripts(folder, tmp_path / "elsewhere")
