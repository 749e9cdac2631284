"""The names of the registered peers, for a shell that completes them: read without touching anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from vpn.lib.errors import InvalidInput
from vpn.lib.registry.peer import parse_name, parse_type

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.registry.peer import PeerName

PATIENCE = 0.5
"""Seconds; nobody waits longer for a list of names."""


def read(path: Path) -> list[PeerName]:
    """All names in the registry at ``path``, by type and id; none where it is not there or cannot be read.

    Nothing is created: SQLite would make the files beside a write-ahead log anew, with our owner, where they are
    missing. Then nobody has the registry open, and it can be read as a file that does not change.
    """
    found = []
    try:
        if not path.is_file():
            return []
        shared = all(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm"))
        how = "mode=ro" if shared else "immutable=1"
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=PATIENCE)) as database:
            for peer_type, peer_id in database.execute("SELECT type, id FROM peer ORDER BY type, id"):
                # What no peer can be called has no business on anybody's command line.
                with suppress(InvalidInput, TypeError):
                    found.append(parse_name(parse_type(peer_type), peer_id))
    except (sqlite3.Error, OSError):
        return []
    return found
