"""The audit log as a chain: each entry carries the hash of the one before. Pure.

The hash of an entry is SHA-256 over the hash of the one before (the first: over the genesis, 32 random bytes) and
the entry's fields in the order of ``link``, each as ``LENGTH:TEXT,``, or ``-,`` where there is none. Numbers are
written in decimal, the time as C's ``%a`` writes it. How many entries there are and the last one's hash are kept
beside the log, so that a log whose end is cut off is noticed as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

try:
    # hashlib loads all of OpenSSL, which costs a command 3 ms. `random` of the standard library does the same.
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from hashlib import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.registry.store import LogEntry

HASH_LENGTH = 32
"""Bytes of an entry's hash, and of the genesis."""


class Chain(NamedTuple):
    """What is kept beside the log: where it begins, how many entries it has, and the last one's hash."""

    genesis: bytes
    entries: int
    head: bytes


class Record(NamedTuple):
    """An entry as it stands in the log; the first has the number 1."""

    number: int
    entry: LogEntry
    hash: bytes


class Break(NamedTuple):
    """The first entry that is not as it was written, and why it cannot be."""

    number: int
    reason: str


def link(before: bytes, number: int, entry: LogEntry) -> bytes:
    """The hash of an entry that follows one with the hash ``before``."""
    peer = entry.peer
    fields = (
        str(number),
        entry.at.hex(),
        str(entry.uid),
        None if entry.login is None else str(entry.login),
        entry.command,
        None if peer is None else peer.type.value,
        None if peer is None else peer.id,
        entry.what,
    )
    text = "".join(["-," if field is None else f"{_length(field)}:{field}," for field in fields])
    digest: bytes = sha256(before + text.encode()).digest()
    return digest


def find_break(chain: Chain, records: Iterable[Record]) -> Break | None:
    """The first broken entry, or None when all are as they were written, and none is missing."""
    number, head = 0, chain.genesis
    for record in records:
        number += 1
        if record.number != number:
            return Break(number, "it is missing")
        head = link(head, number, record.entry)
        if head != record.hash:
            return Break(number, "it, or its hash, was changed after it was written")
    if number < chain.entries:
        return Break(number + 1, "it is missing: the end of the log was cut off")
    if number > chain.entries:
        return Break(chain.entries + 1, "it was added without the hub's doing")
    if head != chain.head:
        return Break(number, "it is not the entry that the log ended with")
    return None


def _length(text: str) -> int:
    """In bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
