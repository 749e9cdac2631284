"""The registry's database: its schema, and SQLite's errors in the library's words."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vpn.lib.errors import Busy, Refused, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 3
LOCK_LIMIT = 30.0
"""Seconds that a transaction waits for another process's."""

CHANGED_IN_2 = (
    """CREATE TABLE hub (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    private_key BLOB NOT NULL CHECK (length(private_key) = 32),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    genesis BLOB NOT NULL CHECK (length(genesis) = 32),
    log_count INTEGER NOT NULL CHECK (log_count >= 0),
    log_head BLOB NOT NULL CHECK (length(log_head) = 32),
    latest REAL NOT NULL
) STRICT""",
    """CREATE TABLE released (
    address INTEGER PRIMARY KEY,
    turn INTEGER NOT NULL,
    at REAL NOT NULL
) STRICT""",
    "CREATE INDEX released_turn ON released (turn)",
    """CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    uid INTEGER NOT NULL,
    login INTEGER,
    command TEXT NOT NULL,
    type TEXT,
    id TEXT,
    what TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT""",
    "CREATE TRIGGER log_is_append_only_update BEFORE UPDATE ON log BEGIN SELECT raise(ABORT, 'append-only'); END",
    "CREATE TRIGGER log_is_append_only_delete BEFORE DELETE ON log BEGIN SELECT raise(ABORT, 'append-only'); END",
    # The key that was taken away last from each name, so that it can still be marked as leaked.
    """CREATE TABLE former (
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    PRIMARY KEY (type, id)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE leaked (
    public_key BLOB PRIMARY KEY CHECK (length(public_key) = 32),
    at REAL NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE TRIGGER leaked_is_for_ever_update BEFORE UPDATE ON leaked BEGIN SELECT raise(ABORT, 'append-only'); END",
    "CREATE TRIGGER leaked_is_for_ever_delete BEFORE DELETE ON leaked BEGIN SELECT raise(ABORT, 'append-only'); END",
    """CREATE TRIGGER leaked_is_refused_insert BEFORE INSERT ON peer
    WHEN NEW.public_key IN (SELECT public_key FROM leaked) BEGIN SELECT raise(ABORT, 'leaked'); END""",
    """CREATE TRIGGER leaked_is_refused_update BEFORE UPDATE OF public_key ON peer
    WHEN NEW.public_key IN (SELECT public_key FROM leaked) BEGIN SELECT raise(ABORT, 'leaked'); END""",
    # What a restore has still to write; NULL stands for a file that has to go.
    """CREATE TABLE pending (
    name TEXT PRIMARY KEY,
    content BLOB
) STRICT, WITHOUT ROWID""",
)
"""What version 2 made new or anew. The migration from 1 executes it: before it changes, it has to be copied there."""

_ON_PEER = tuple(statement for statement in CHANGED_IN_2 if " ON peer" in statement)

CHANGED_IN_3 = (
    """CREATE TABLE peer (
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    folded TEXT NOT NULL,
    address INTEGER NOT NULL UNIQUE,
    preshared_key BLOB NOT NULL CHECK (length(preshared_key) = 32),
    public_key BLOB UNIQUE CHECK (length(public_key) = 32),
    created REAL NOT NULL,
    changed REAL NOT NULL,
    standing TEXT NOT NULL CHECK (standing IN ('enabled', 'disabled', 'expired')),
    until REAL,
    rotation REAL,
    version TEXT,
    PRIMARY KEY (type, id),
    UNIQUE (type, folded)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX peer_until ON peer (until) WHERE until NOT NULL",
    *_ON_PEER,
    # One that has expired is kept, so that it can be told from one that was never made.
    """CREATE TABLE invitation (
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    private_key BLOB NOT NULL CHECK (length(private_key) = 32),
    public_key BLOB NOT NULL UNIQUE CHECK (length(public_key) = 32),
    preshared_key BLOB NOT NULL CHECK (length(preshared_key) = 32),
    address INTEGER NOT NULL UNIQUE,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    expired INTEGER NOT NULL CHECK (expired IN (0, 1)),
    PRIMARY KEY (type, id)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX invitation_expires ON invitation (expires) WHERE NOT expired",
)
"""What version 3 made new or anew, likewise."""

SCHEMA = (
    *CHANGED_IN_3,
    """CREATE TABLE endpoint (
    public_key BLOB PRIMARY KEY,
    address TEXT NOT NULL,
    port INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    *(statement for statement in CHANGED_IN_2 if statement not in _ON_PEER),
)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """sqlite3's errors as the library's, each saying what to do."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        if str(error) == "leaked":
            raise Refused("that public key was marked as leaked and is refused for ever; make a new one") from error
        taken = "address" if "address" in str(error) else "public key" if "public_key" in str(error) else "name"
        raise Refused(f"that {taken} belongs to another peer; `list` shows to which") from error
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Busy(
                f"{path} has been locked for {LOCK_LIMIT:.0f} s; look for a hanging command, try again"
            ) from error
        reason = {
            sqlite3.SQLITE_FULL: "the disk is full; free some space, then try again",
            sqlite3.SQLITE_READONLY: "it cannot be written; make it and its folder writable, then try again",
            sqlite3.SQLITE_IOERR: "the disk reports an error; check the disk and its free space, then try again",
            sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder is there and writable",
            sqlite3.SQLITE_PERM: "permission denied; run this as its owner, or as root",
        }.get(code)
        if reason is None:
            raise damaged(path, str(error)) from error
        raise StateError(f"{path}: {reason}") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error
    except UnicodeDecodeError as error:
        # SQLite's own message, which quotes what it found.
        raise damaged(path, "a text in it is not UTF-8") from error


def damaged(path: Path, reason: str) -> StateError:
    """The error for a registry that cannot be read, with the ways out."""
    # SQLite quotes a text that it cannot decode, which may be a secret, and the schema with its line breaks.
    reason = " ".join(reason.partition(" with text ")[0].split())
    return StateError(
        f"{path} is damaged ({reason}); put back a copy of it, or move it away: the next command rebuilds it from"
        " wireguard/wg0.conf and config_peers"
    )
