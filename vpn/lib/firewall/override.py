"""``policy.toml``: a policy in the place of the default one, as a whole.

::

    [[allow]]
    from = "node"
    to = "mqtt"
    tcp = [1883, "5000-5010"]   # udp likewise

Pure. What is not known is refused: a misspelt key would silently deny, or allow, something else.
"""

from __future__ import annotations

import re
import tomllib
from itertools import groupby
from typing import TYPE_CHECKING, NoReturn

from vpn.lib.errors import InvalidInput
from vpn.lib.firewall.policy import TCP, UDP, Policy, Role, Rule, make, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES, CHARACTERS = 300, 32768
"""The longest file. Far more than a matrix of five roles needs, and a bound on what a damaged one can cost."""

_ALLOW = "allow"
_KEYS = ("from", "to", TCP, UDP)
_RANGE = re.compile(r"([1-9]\d{0,4})-([1-9]\d{0,4})", re.ASCII)
_Path = tuple[str | int, ...]


def parse(text: str, source: str, longest: int = CHARACTERS) -> Policy:
    """The policy of a file's text of at most ``longest`` characters; ``source`` names it in errors.

    Raises InvalidInput with line and value.
    """
    if text.count("\n") > LINES or len(text) > longest:
        raise InvalidInput(
            f"{source} is longer than {LINES} lines or {longest} characters; write one [[allow]] for two roles"
        )
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        # tomllib itself names line and column; but a number of thousands of digits is Python's own ValueError.
        raise InvalidInput(
            f"{source}: not TOML: {_shown(str(error), bare=True)}; compare it with the example in docs/operation.md"
        ) from error
    except RecursionError as error:
        raise InvalidInput(f"{source}: nested too deeply; write [[allow]] with from, to and tcp") from error
    reader = _Reader(text, source)
    for key in document:
        if key != _ALLOW:
            reader.refuse((key,), f"unknown key {_shown(key)}; write [[{_ALLOW}]]")
    if _ALLOW not in document:
        raise InvalidInput(
            f"{source}: allows nothing; write `{_ALLOW} = []` if that is meant, or delete it for the default policy"
        )
    entries = document[_ALLOW]
    if not isinstance(entries, list):
        reader.refuse((_ALLOW,), f"{_ALLOW} = {_shown(entries)} is no list; write [[{_ALLOW}]] before each rule")
    return make([rule for number, entry in enumerate(entries) for rule in reader.rules(number, entry)])


def render(policy: Policy) -> str:
    """The text of a file with this policy: parsed, it gives it again.

    It may be longer than what the policy was parsed from, though not twice as long.
    """
    if not policy.rules:
        return f"{_ALLOW} = []\n"
    blocks = []
    for (source, target), together in groupby(policy.rules, key=lambda rule: (rule.source.value, rule.target.value)):
        lines = [f"[[{_ALLOW}]]", f'from = "{source}"', f'to = "{target}"']
        for protocol, rules in groupby(together, key=lambda rule: rule.protocol):
            ports = [rule.ports if rule.first == rule.last else f'"{rule.ports}"' for rule in rules]
            lines.append(f"{protocol} = [{', '.join(ports)}]")
        blocks.append("".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)


class _Reader:
    """Values of one document; refuses with their lines."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source

    def rules(self, number: int, entry: object) -> Iterator[Rule]:
        where: _Path = (_ALLOW, number)
        if not isinstance(entry, dict):
            self.refuse(where, f"{_shown(entry)} is no rule; write [[{_ALLOW}]] with from, to and tcp")
        for key in entry:
            if key not in _KEYS:
                self.refuse((*where, key), f"unknown key {_shown(key)}; known are {', '.join(_KEYS)}")
        roles = [self._role(where, key, entry) for key in ("from", "to")]
        if not any(entry.get(protocol) not in (None, []) for protocol in (TCP, UDP)):
            self.refuse(where, "the rule names no ports; write such as `tcp = [1883]`")
        for protocol in (TCP, UDP):
            for first, last in self._ports((*where, protocol), entry.get(protocol, [])):
                rule = Rule(roles[0], roles[1], protocol, first, last)
                try:
                    refuse(rule)
                except InvalidInput as error:
                    self.refuse((*where, "to"), str(error))
                yield rule

    def _role(self, where: _Path, key: str, entry: dict[str, object]) -> Role:
        if key not in entry:
            self.refuse(where, f"the rule lacks `{key}`; write it with one of {_known()}")
        value = entry[key]
        try:
            return Role(value)
        except ValueError:
            hint = f"the hub itself answers echo and nothing else; choose one of {_known()}"
            self.refuse(
                (*where, key),
                f"{key} = {_shown(value)}: {hint if value == 'hub' else f'is no role; choose one of {_known()}'}",
            )

    def _ports(self, where: _Path, value: object) -> Iterator[tuple[int, int]]:
        if not isinstance(value, list):
            self.refuse(where, f"{where[-1]} = {_shown(value)} is no list; write such as `{where[-1]} = [1883]`")
        for item in value:
            pair = _RANGE.fullmatch(item) if isinstance(item, str) else None
            # True is an int to Python.
            first, last = (int(pair[1]), int(pair[2])) if pair else (item, item) if type(item) is int else (0, 0)
            if not 1 <= first <= last <= 65535:
                self.refuse(
                    where,
                    f'{where[-1]}: {_shown(item)} is no port; write a number from 1 to 65535, or a range "5000-5010"',
                )
            yield first, last

    def refuse(self, path: _Path, problem: str) -> NoReturn:
        raise InvalidInput(f"{self._source}, line {_line(self._text, path)}: {problem}")


def _line(text: str, path: _Path) -> int:
    """The line on which the value at ``path`` is complete: what stands before it parses without the value.

    tomllib does not tell the lines of values; the parser itself is the only one that never misreads them.
    """
    lines = text.split("\n")
    for number in range(1, len(lines)):
        if not lines[number - 1].strip():
            continue
        try:
            found: object = tomllib.loads("\n".join(lines[:number]))
        except ValueError:
            continue
        try:
            for step in path:
                found = found[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            continue
        return number
    return len(lines)


def _known() -> str:
    return ", ".join(role.value for role in Role)


def _shown(value: object, *, bare: bool = False) -> str:
    """A value for an error message: short, and without anything that acts on a terminal."""
    text = value if bare and isinstance(value, str) else ascii(value)
    text = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 120 else text[:117] + "..."
