"""``audit``: the log for people and for programs, and whether it is whole."""

from __future__ import annotations

import json
import pwd
import time
from typing import TYPE_CHECKING

from vpn.lib.hub.listing import table
from vpn.lib.registry.audit import find_break

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.registry.audit import Break, Chain, Record

NOTHING = "no entries yet: nothing has been changed"


def as_table(records: Iterable[Record]) -> str:
    """A table, the newest entry last."""
    rows = [row(record) for record in records]
    return table([("NUMBER", "TIME", "BY", "LOGIN", "COMMAND", "PEER", "WHAT"), *rows]) if rows else NOTHING


def as_json(records: Iterable[Record]) -> str:
    """A JSON array, an object for each entry, the newest last."""
    return "[" + ",\n ".join(json.dumps(_dictionary(record)) for record in records) + "]"


def verify(chain: Chain, records: Iterable[Record], json_asked: bool) -> tuple[str, bool]:
    """What to say of the chain, and whether it is whole."""
    broken: dict[int, Record] = {}
    found = find_break(chain, _watched(records, broken))
    if json_asked:
        answer: dict[str, object] = {"entries": chain.entries, "head": chain.head.hex(), "broken": None}
        if found is not None:
            answer["broken"] = {"number": found.number, "reason": found.reason}
        return json.dumps(answer), found is None
    if found is None:
        return f"whole: {chain.entries} entries, the last one's hash is {chain.head.hex()}", True
    return _told(found, broken.get(found.number)), False


def _watched(records: Iterable[Record], last: dict[int, Record]) -> Iterable[Record]:
    for record in records:
        last.clear()
        last[record.number] = record
        yield record


def _told(found: Break, record: Record | None) -> str:
    about = "" if record is None else f" ({_time(record)}, {record.entry.command}: {record.entry.what})"
    line = f"broken at entry {found.number}{about}: {found.reason}; compare with a backup, and ask who can write there"
    return _printable(line)


def _printable(text: str) -> str:
    """The text without anything that acts on a terminal: whoever tampered may have put it there."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def row(record: Record) -> tuple[str, ...]:
    """An entry as people read it: number, time, user, login, command, peer, and what was done."""
    entry = record.entry
    return (
        str(record.number),
        _time(record),
        _user(entry.uid),
        "-" if entry.login is None else _user(entry.login),
        _printable(entry.command),
        "-" if entry.peer is None else _printable(str(entry.peer)),
        _printable(entry.what),
    )


def _dictionary(record: Record) -> dict[str, object]:
    entry = record.entry
    return {
        "number": record.number,
        "time": entry.at,
        "uid": entry.uid,
        "login": entry.login,
        "command": entry.command,
        "type": None if entry.peer is None else entry.peer.type.value,
        "id": None if entry.peer is None else entry.peer.id,
        "what": entry.what,
        "hash": record.hash.hex(),
    }


def _time(record: Record) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.entry.at))
    except (OverflowError, ValueError, OSError):
        return "no time"  # an entry that was tampered with


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except (KeyError, OverflowError):
        return str(uid)
