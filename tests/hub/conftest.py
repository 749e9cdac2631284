"""A hub in process, with its device in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.memory_device import MemoryDevice
from vpn.lib.hub import settings as hub_settings
from vpn.lib.hub.service import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vpn.lib.hub.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with the default ranges and an empty state directory."""
    return hub_settings.load({"VPN_CONFIG_DIR": str(tmp_path), "VPN_SERVER_PUBLIC_ADDR": "hub.example.org"})


@pytest.fixture
def device() -> MemoryDevice:
    """wg0, empty."""
    return MemoryDevice()


@pytest.fixture
def hub(settings: Settings, device: MemoryDevice) -> Iterator[Hub]:
    """A hub without peers whose clock stands still."""
    with Hub(settings, device, command="test", clock=lambda: 1_000_000.0) as opened:
        yield opened
