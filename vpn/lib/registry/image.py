"""A registry in memory, from the bytes that a backup kept: checked before anything is done with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from vpn.lib.errors import InvalidInput, StateError
from vpn.lib.registry.audit import find_break
from vpn.lib.registry.database import SCHEMA, SCHEMA_VERSION, translated
from vpn.lib.registry.migration import upgrade, version_of
from vpn.lib.registry.sqlite import OpenRegistry, in_place

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vpn.lib.files import Owner
    from vpn.lib.registry.audit import Break


class Image(OpenRegistry):
    """Registry over bytes of ``Transaction.image``; ``source`` names them in errors.

    One of an older schema is brought up to date, at the registry time ``now`` at the earliest. Raises InvalidInput for
    anything that is not a whole registry of this release or an older one.
    """

    def __init__(self, raw: bytes, source: Path, now: float) -> None:
        if not raw:
            raise _damaged(source)
        super().__init__(source, sqlite3.connect(":memory:", isolation_level=None))
        try:
            self._database.deserialize(raw)
            version = version_of(self._database)
            if version > SCHEMA_VERSION:
                raise InvalidInput(f"{source} was made by a newer release; install that release, or a later one")
            (answer,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
            if version < 1 or answer != "ok":
                raise _damaged(source)
            if version < SCHEMA_VERSION:
                upgrade(self._database, now)
            # Also what would act on its own later: a trigger that somebody put there.
            if _schema(self._database) != _fresh_schema() or self.private_key().public_key() != self.public_key():
                raise _damaged(source)
            for _ in self.peers():
                pass
            self.leaked()
        except InvalidInput:
            self.close()
            raise
        except (sqlite3.Error, StateError, OverflowError, UnicodeDecodeError) as error:
            self.close()
            raise _damaged(source) from error

    def find_break(self) -> Break | None:
        """The first broken entry of its audit log."""
        return find_break(self.chain(), self.records())

    def set_pending(self, contents: Mapping[str, bytes | None]) -> None:
        """What will have to be written once this is the registry, and nothing else."""
        with translated(self._path):
            self._database.execute("DELETE FROM pending")
            self._database.executemany("INSERT INTO pending VALUES (?, ?)", contents.items())

    def write(self, path: Path, owner: Owner | None) -> None:
        """Put it at ``path``, which no process may have open, whole or not at all."""
        with in_place(path, owner) as database:
            self.copy_to(database)


def _schema(database: sqlite3.Connection) -> set[tuple[str, str, str, str | None]]:
    return set(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall())


def _fresh_schema() -> set[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        for statement in SCHEMA:
            database.execute(statement)
        return _schema(database)


def _damaged(source: Path) -> InvalidInput:
    return InvalidInput(f"the registry in {source} is damaged, or none of this project; use another backup")
