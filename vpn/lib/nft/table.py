"""The one table that the project owns, and the text that puts it in place."""

from __future__ import annotations

FAMILY, NAME = "inet", "fedbiomed_vpn"
TABLE = f"{FAMILY} {NAME}"

REMOVAL = f"table {TABLE}\ndelete table {TABLE}\n"
"""Removes the table, whether it is there or not: the first line makes it where it is not (nft(8), "Tables")."""


def replacement(body: list[str]) -> str:
    """The text for ``nft -f -`` that puts a table with these lines in the place of the one that is there.

    nft makes one transaction of it: at every moment the former table is in force, or this one.
    """
    return f"{REMOVAL}table {TABLE} {{\n" + "".join(f"\t{line}\n" if line else "\n" for line in body) + "}\n"


def chain(name: str, *lines: str) -> list[str]:
    """A chain as lines of a table."""
    return [f"chain {name} {{", *(f"\t{line}" for line in lines), "}"]


def base_chain(hook: str, *lines: str) -> list[str]:
    """The chain at a hook. Its policy is accept: what is to be dropped is what a rule here says, not what others do."""
    return chain(hook, f"type filter hook {hook} priority filter; policy accept;", *lines)
