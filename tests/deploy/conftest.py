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


@pytest.fixture
def running(host: Host) -> Host:
    """A host on which the whole consortium runs."""
    host.with_images()
    host.done("start", "--public-address", "vpn.example.org")
    return host
