"""Many peers in a CSV file: what each line asks for, and what is wrong with each that is bad. Pure.

The first line names the columns, in any order. Accepted as spreadsheets write them: a byte-order mark, CRLF, quotes,
semicolons in the place of commas, lines without anything in them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput
from vpn.lib.hub.when import parse_duration, parse_until
from vpn.lib.registry.peer import PeerName, parse_name, parse_type
from vpn.lib.wireguard.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LIMIT = 16 << 20
"""Bytes of a file: more than a table of all peers that a VPN can have."""

REGISTRATIONS = ("type", "id", "until", "invite")
KEYS = ("type", "id", "key")
REQUIRED = {REGISTRATIONS: ("type", "id"), KEYS: KEYS}
INVITED = 48 * 3600.0
"""Seconds that an invitation holds where only ``yes`` is written."""


class Entry(NamedTuple):
    """What a line asks for; ``line`` counts from 1. None where it asks for nothing."""

    line: int
    name: PeerName
    key: PublicKey | None = None
    until: float | None = None
    invite: float | None = None


class Problem(NamedTuple):
    """What is wrong with a line."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class Table(NamedTuple):
    """The lines of a file, each of them good or bad."""

    entries: list[Entry]
    problems: list[Problem]


def parse(data: bytes, source: str, columns: tuple[str, ...]) -> Table:
    """The table, of ``REGISTRATIONS`` or ``KEYS``. Raises InvalidInput where it cannot be told what its lines are."""
    if len(data) > LIMIT:
        raise InvalidInput(f"{source} is larger than {LIMIT >> 20} MiB; give it in parts")
    text = _decoded(data, source)
    table = Table([], [])
    rows = _rows(text, table.problems)
    head = next(rows, None)
    if head is None:
        if table.problems:
            raise InvalidInput(f"{source}, {table.problems[0]}")
        raise InvalidInput(f"{source} is empty; its first line is due to be {','.join(columns)}")
    names = _header(head, source, columns)
    known: dict[tuple[str, str], Entry] = {}
    keys: dict[PublicKey, Entry] = {}
    for line, cells in rows:
        try:
            if len(cells) != len(names):
                raise InvalidInput(f"{len(cells)} columns where {len(names)} are due")
            entry = _entry(line, dict(zip(names, cells, strict=True)))
            _refuse_repetition(entry, known, keys)
        except InvalidInput as error:
            table.problems.append(Problem(line, str(error)))
            continue
        table.entries.append(entry)
    table.problems.sort()
    return table


def _decoded(data: bytes, source: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InvalidInput(f"{source} is UTF-16; save it as CSV in UTF-8")
    zero = data.find(b"\0")
    if zero >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise InvalidInput(f"{source}, line {line}: a NUL byte, so it is no text; save it as CSV in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{source}, line {line}: not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from error


def _rows(text: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that has any; what ends the reading goes to ``problems``."""
    import csv

    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(
                Problem(line, f"the quotes do not match, or it is too long ({error}); what follows is lost")
            )
            return
        if any(cells):
            yield line, cells


def _header(row: tuple[int, list[str]], source: str, columns: tuple[str, ...]) -> Sequence[str]:
    line, cells = row
    names = [cell.lower() for cell in cells]
    due = f"the header {','.join(columns)} is due"
    unknown = [cell for cell in names if cell not in columns]
    if unknown:
        raise InvalidInput(f"{source}, line {line}: no column is called {unknown[0][:40]!a}; {due}")
    missing = [name for name in REQUIRED[columns] if name not in names]
    if missing:
        raise InvalidInput(f"{source}, line {line}: the column {missing[0]} is missing; {due}")
    if len(set(names)) < len(names):
        raise InvalidInput(f"{source}, line {line}: a column is there twice; {due}")
    return names


def _entry(line: int, cells: dict[str, str]) -> Entry:
    name = parse_name(parse_type(cells["type"]), cells["id"])
    key = PublicKey.parse(cells["key"]) if "key" in cells else None
    return Entry(line, name, key, _if_any(cells.get("until"), _until), _if_any(cells.get("invite"), parse_invite))


def _if_any(text: str | None, parse: Callable[[str], float | None]) -> float | None:
    return parse(text) if text else None


def _until(text: str) -> float:
    try:
        return parse_until(text)
    except InvalidInput as error:
        raise InvalidInput(str(error).removeprefix("--")) from error


def parse_invite(text: str) -> float | None:
    """For how many seconds to invite: a duration, ``yes``, or ``no`` for None. Raises InvalidInput."""
    if text.lower() in ("no", "false", "0"):
        return None
    if text.lower() in ("yes", "true", "1"):
        return INVITED
    try:
        return parse_duration(text, "invite")
    except InvalidInput as error:
        raise InvalidInput(f"{error}, or yes or no") from error


def _refuse_repetition(entry: Entry, known: dict[tuple[str, str], Entry], keys: dict[PublicKey, Entry]) -> None:
    """Raise InvalidInput for a peer or a key that an earlier line has."""
    name = entry.name
    before = known.setdefault((name.type.value, name.id.lower()), entry)
    if before is not entry:
        if before.name == name:
            raise InvalidInput(f"{name} is in line {before.line} already")
        raise InvalidInput(f"{name} differs from {before.name} in line {before.line} only by case; choose another id")
    if entry.key is not None:
        owner = keys.setdefault(entry.key, entry)
        if owner is not entry:
            raise InvalidInput(f"this key is the one of {owner.name} in line {owner.line}; each makes its own")
