"""A hub that runs, on a network of its own for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.consortium import Consortium
from tests.system.daemons import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def wireguard() -> str:
    """The WireGuard of the hub and of the components; tests over all implementations parametrize it."""
    return DEFAULT


@pytest.fixture
def idle(tmp_path: Path, wireguard: str) -> Iterator[Consortium]:
    """A consortium whose hub is not started."""
    with Consortium(tmp_path, wireguard) as made:
        yield made


@pytest.fixture
def consortium(idle: Consortium) -> Consortium:
    """A consortium whose hub is ready, without components."""
    idle.hub.start()
    return idle
