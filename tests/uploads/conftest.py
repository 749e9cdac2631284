"""A running service for all tests that do not harm it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.uploads.service import Service, another_caller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Takes files of up to 4 MiB, and is also known as uploads.example."""
    folder = tmp_path_factory.mktemp("app")
    with Service(folder, UPLOADS_MAX_BYTES=str(4 << 20), UPLOADS_HOSTS="uploads.example") as running:
        yield running


@pytest.fixture
def caller() -> str:
    """An address without uploads."""
    return another_caller()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An empty folder for a service of the test's own."""
    folder = tmp_path / "app"
    folder.mkdir()
    return folder
