"""What is on disk, for comparing before with after, and which secrets are in it."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from base64 import b64encode
from contextlib import closing
from pathlib import Path

PASSING = ("-wal", "-shm", ".lock")
"""Ends of names of files that hold no state of their own once nobody has them open."""

OLDER_INSTALLATION = Path(__file__).resolve().parents[1] / "fixtures" / "older-installation"


def snapshot(root: Path) -> dict[str, tuple[str, ...]]:
    """Names, modes, owners and contents of all below ``root``, links not followed."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith(PASSING):
            continue
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content = f"-> {path.readlink()}"
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes().hex() if os.access(path, os.R_OK) else "may not be read"
        else:
            content = ""
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), f"{status.st_uid}", content)
    return found


def difference(before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]) -> list[str]:
    """The names of what differs, without contents: they hold secrets, and may be long."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def secrets(root: Path) -> set[str]:
    """Every private and preshared key that is somewhere below ``root``, in base64 and in hexadecimal."""
    found: set[bytes] = set()
    for path in root.rglob("registry.db"):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                rows = database.execute("SELECT preshared_key FROM peer UNION SELECT private_key FROM hub").fetchall()
            found.update(raw for (raw,) in rows)
        except sqlite3.Error:
            continue
    texts = set()
    for path in root.rglob("*"):
        if path.is_file() and os.access(path, os.R_OK) and path.suffix in (".env", ".conf", ".key"):
            text = path.read_bytes().decode("latin-1")
            texts.update(re.findall(r"(?:PSK|PrivateKey|PresharedKey)\s*=\s*['\"]?([A-Za-z0-9+/]{20,43})", text))
            if path.suffix == ".key":
                texts.update(re.findall(r"[A-Za-z0-9+/]{20,43}", text))
    texts.update(b64encode(raw).decode().rstrip("=") for raw in found)
    return texts | {raw.hex() for raw in found}


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)
