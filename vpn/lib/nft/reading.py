"""Comparing a table as nft lists it with the text that it was loaded from. Pure.

nft has its own way to write what it was given: sets sorted, ranges of addresses as prefixes where they are some, one
port without braces, no burst that is the default. Both sides are brought to one way.
"""

from __future__ import annotations

import re
from ipaddress import ip_network

_SET = re.compile(r"\{ (.*?) \}")


def differences(text: str, listing: str) -> list[str]:
    """The names of the chains that are not as ``text`` has them."""
    wanted, seen = chains(text), chains(listing)
    return sorted(name for name in wanted.keys() | seen.keys() if wanted.get(name) != seen.get(name))


def chains(text: str) -> dict[str, list[str]]:
    """The rules of each chain, in one way of writing."""
    found: dict[str, list[str]] = {}
    rules: list[str] | None = None
    # Long sets are broken over lines.
    for line in map(str.strip, re.sub(r",\s*\n\s*", ", ", text).splitlines()):
        if match := re.match(r"chain (\w+) \{$", line):
            rules = found.setdefault(match[1], [])
        elif line == "}":
            rules = None
        elif rules is not None and line:
            rules.append(_SET.sub(_in_order, line.replace('"', "").replace(" burst 5 packets", "")))
    return found


def _in_order(match: re.Match[str]) -> str:
    elements = sorted(map(_element, match[1].split(", ")))
    return elements[0] if len(elements) == 1 and " : " not in elements[0] else f"{{ {', '.join(elements)} }}"


def _element(text: str) -> str:
    """An element of a set or a map, with addresses as a range."""
    key, colon, value = text.partition(" : ")
    try:
        network = ip_network(key)
    except ValueError:
        return text
    if "/" not in key:
        return text
    return f"{network[0]}-{network[-1]}{colon}{value}"
