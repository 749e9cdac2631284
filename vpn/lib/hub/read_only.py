"""The registry, read without changing anything in it, and without a lock that a command would wait for."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from vpn.lib.registry.database import SCHEMA_VERSION, damaged, translated
from vpn.lib.registry.sqlite import OpenRegistry

if TYPE_CHECKING:
    from pathlib import Path


class ReadOnly(OpenRegistry):
    """Registry over the file at ``path``, of whatever release. Raises StateError when it cannot be read.

    Reading makes sense where it is ``current``. To be used by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb"):
            pass  # SQLite tells less about what it may not read
        # Without a write-ahead log nobody has it open, and SQLite would make one.
        way = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        with translated(path):
            place = f"{path.absolute().as_uri()}?{way}"
            database = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False, timeout=2.0)
            super().__init__(path, database)
            (version,) = database.execute("PRAGMA user_version").fetchone()
        self.version_of_schema = int(version)
        if version < 1:
            raise damaged(path, "it is no registry")

    @property
    def current(self) -> bool:
        """Whether it is of this release."""
        return self.version_of_schema == SCHEMA_VERSION
