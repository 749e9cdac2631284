"""A host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deploy.host import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with docker and docker-compose 1.29, and no images."""
    return Host(tmp_path)


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Host:
    host = Host(tmp_path_factory.mktemp("started"))
    host.with_images()
    host.done("start", "--public-address", "vpn.example.org")
    return host


@pytest.fixture
def running(tmp_path: Path, _started: Host) -> Host:
    """A host on which the whole consortium runs."""
    return Host(tmp_path, like=_started)
