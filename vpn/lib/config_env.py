"""``config.env``: lines of ``export NAME=value``, written for shells, read without one.

Accepted: CRLF, comments, blank lines, single or double quotes around a value, ``export`` or not.
Values are literal: nothing is expanded or executed. Refused: a line that is no assignment
(``exportVPN_IP=`` is a common slip), a name given twice, control characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib.errors import InvalidInput
from vpn.lib.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-[]")


def parse(text: str, source: str) -> dict[str, str]:
    """The variables of ``text``; ``source`` names it in errors. An empty text gives an empty dict."""
    variables: dict[str, str] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith(("export ", "export\t")):
            line = line[6:].lstrip()
        name, equals, value = line.partition("=")
        if not equals or not (name.isascii() and name.isidentifier()):
            raise InvalidInput(f"{source}, line {number}: not an assignment; write `export NAME=value`")
        if name.startswith("export") and name != "export":
            raise InvalidInput(f"{source}, line {number}: a space is missing after `export`; write `export NAME=value`")
        if name in variables:
            raise InvalidInput(f"{source}, line {number}: {name} is set a second time; keep one of the lines")
        variables[name] = _unquote(value.strip(), f"{source}, line {number}")
    return variables


def load(path: Path) -> dict[str, str]:
    """``parse`` of a file. Raises FileNotFoundError, InvalidInput or StateError as ``read_text`` does."""
    return parse(read_text(path), str(path))


def render(variables: Mapping[str, str], header: Iterable[str] = ()) -> str:
    """The text of a config.env: ``header`` as comment lines, then one assignment a line, in order."""
    lines = [f"# {line}" for line in header]
    lines += [f"export {name}={_quote(value)}" for name, value in variables.items()]
    return "\n".join(lines) + "\n"


def replace(text: str, changes: Mapping[str, str | None]) -> str:
    """``text`` with these variables set, or taken out where None; all other lines stay as they are.

    A variable that was not there is added at the end.
    """
    left = dict(changes)
    lines = []
    for raw in text.removeprefix("\ufeff").splitlines():
        name = raw.strip().removeprefix("export").lstrip().partition("=")[0]
        if raw.lstrip().startswith("#") or name not in changes:
            lines.append(raw)
            continue
        value = left.pop(name, None)
        if value is not None:
            lines.append(f"export {name}={_quote(value)}")
    lines += [f"export {name}={_quote(value)}" for name, value in left.items() if value is not None]
    return "\n".join(lines) + "\n"


def _unquote(value: str, where: str) -> str:
    if value[:1] in ("'", '"'):
        quote = value[0]
        end = value.find(quote, 1)
        rest = value[end + 1 :].strip()
        if end < 0 or (rest and not rest.startswith("#")):
            raise InvalidInput(f"{where}: the quotes do not match; write `export NAME=value` or NAME='value'")
        value = value[1:end]
    elif " #" in value or "\t#" in value:
        # As a shell does: an unquoted ` #` begins a comment.
        value = value.replace("\t#", " #").partition(" #")[0].rstrip()
    if not value.isprintable():
        raise InvalidInput(f"{where}: the value holds a control character; type the line again")
    return value


def _quote(value: str) -> str:
    if not value.isprintable() or "'" in value:
        raise InvalidInput("a value for config.env holds a quote or a control character; choose another")
    return value if _SAFE.issuperset(value) else f"'{value}'"
