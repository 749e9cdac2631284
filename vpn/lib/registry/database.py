"""The registry's database: its schema, and SQLite's errors in the library's words."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vpn.lib.errors import Busy, Refused, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 1
LOCK_LIMIT = 30.0
"""Seconds that a transaction waits for another process's."""

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


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """sqlite3's errors as the library's, each saying what to do."""
    try:
        yield
    except sqlite3.IntegrityError as error:
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
