"""A registry as the release with schema version 1 made it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.registry.stored import HUB

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.registry.peer import Peer

SCHEMA = """
CREATE TABLE hub (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    private_key BLOB NOT NULL CHECK (length(private_key) = 32),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32)
) STRICT;
CREATE TABLE peer (
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    folded TEXT NOT NULL,
    address INTEGER NOT NULL UNIQUE,
    preshared_key BLOB NOT NULL CHECK (length(preshared_key) = 32),
    public_key BLOB UNIQUE CHECK (length(public_key) = 32),
    created REAL NOT NULL,
    changed REAL NOT NULL,
    PRIMARY KEY (type, id),
    UNIQUE (type, folded)
) STRICT, WITHOUT ROWID;
CREATE TABLE released (
    address INTEGER PRIMARY KEY,
    turn INTEGER NOT NULL
) STRICT;
CREATE INDEX released_turn ON released (turn);
CREATE TABLE endpoint (
    public_key BLOB PRIMARY KEY,
    address TEXT NOT NULL,
    port INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE log (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    uid INTEGER NOT NULL,
    command TEXT NOT NULL,
    type TEXT,
    id TEXT,
    what TEXT NOT NULL
) STRICT;
CREATE TRIGGER log_is_append_only_update BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'append-only'); END;
CREATE TRIGGER log_is_append_only_delete BEFORE DELETE ON log BEGIN SELECT raise(ABORT, 'append-only'); END;
"""
LOG = [
    (1000.0, 0, "genconf", "node", "node2", "genconf 10.221.0.2"),
    (900.5, 7, "add", "node", "node2", "add key"),
    (1200.0, 0, "library", None, None, "something else"),
]


def write(path: Path, *peers: Peer, released: tuple[int, ...] = ()) -> None:
    """Make it; ``released`` in their order."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = 1; COMMIT;")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO hub VALUES (1, ?, ?)", (bytes(HUB), bytes(HUB.public_key())))
        for peer in peers:
            database.execute(
                "INSERT INTO peer VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    peer.name.type.value,
                    peer.name.id,
                    peer.name.id.lower(),
                    int(peer.address),
                    bytes(peer.preshared_key),
                    None if peer.public_key is None else bytes(peer.public_key),
                    peer.created,
                    peer.changed,
                ),
            )
        database.executemany("INSERT INTO released VALUES (?, ?)", zip(released, range(1, 1000), strict=False))
        database.executemany("INSERT INTO log (at, uid, command, type, id, what) VALUES (?, ?, ?, ?, ?, ?)", LOG)
    path.chmod(0o600)
