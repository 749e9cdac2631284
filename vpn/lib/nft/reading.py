"""Comparing a table as nft lists it with the text that it was loaded from. Pure.

nft has its own way to write what it was given (sets broken over lines, ports by name), so chains are compared by their
rules' number and verdicts: an edit that lets something pass, or stops it, changes one of them.
"""

from __future__ import annotations

import re

_VERDICT = re.compile(r"\b(accept|drop|reject|goto \w+|jump \w+|return|counter name \"?\w+)")


def differences(text: str, listing: str) -> list[str]:
    """The names of the chains that are not as ``text`` has them."""
    wanted, seen = chains(text), chains(listing)
    return sorted(name for name in wanted.keys() | seen.keys() if wanted.get(name) != seen.get(name))


def chains(text: str) -> dict[str, list[list[str]]]:
    """The verdicts of each rule of each chain, in their order."""
    found: dict[str, list[list[str]]] = {}
    name = ""
    for line in re.sub(r",\s*\n\s*", ", ", text).splitlines():
        line = line.strip()
        if match := re.match(r"chain (\w+) \{$", line):
            name = match[1]
            found[name] = []
        elif line == "}":
            name = ""
        elif name and line and not line.startswith("type "):
            found[name].append([verdict.replace('"', "") for verdict in _VERDICT.findall(line)])
    return found
