"""Fixtures of these tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room in the 107 bytes of a Unix socket's; tmp_path may not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
