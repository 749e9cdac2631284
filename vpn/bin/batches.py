"""``genconf --from`` and ``add --from`` of configure_peer.py: many peers out of a CSV file."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, TypeVar

from vpn.bin import peer_lines
from vpn.lib.hub.invitations import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterator

    from vpn.bin import Parser
    from vpn.lib.hub.batches import BadLines
    from vpn.lib.hub.outcomes import Configured
    from vpn.lib.hub.peer_table import Problem, Table
    from vpn.lib.hub.service import Hub

_Item = TypeVar("_Item")
WIDTH = 30
"""Columns of the bar."""

MANY = 500
"""Peers that take long enough to ask how long."""


def add_arguments(child: Parser, columns: str) -> None:
    """The arguments of a command that takes a table in the place of a peer."""
    child.add_argument(
        "--from",
        dest="table",
        metavar="FILE",
        help=f"do it for every line of a CSV file with the columns {columns}; - reads it from standard input",
    )
    child.add_argument("--keep-going", action="store_true", help="with --from: leave bad lines out, and do the others")


def check(arguments: argparse.Namespace, words: tuple[str, ...]) -> None:
    """Complain of arguments that do not go together; ``words`` are those that stand in the place of a table."""
    complain: Callable[[str], object] = arguments.complain
    given = [word for word in words if getattr(arguments, word) is not None]
    names = [{"key": "PUBLICKEY"}.get(word, word.upper()) for word in words]
    if arguments.table is not None:
        others = [name for name in ("until", "invite", "valid") if getattr(arguments, name, None)]
        if given or others:
            complain("--from takes all from its FILE: give it no TYPE, --until, --invite or --valid")
    elif len(given) < len(words):
        complain(f"the following arguments are required: {', '.join(names[len(given) :])}")
    elif arguments.keep_going:
        complain("--keep-going is for --from")


def read(arguments: argparse.Namespace) -> tuple[Table, str]:
    """The table of ``--from``, and what it is called. Raises InvalidInput where it is none."""
    from vpn.lib.hub import peer_table

    columns = peer_table.KEYS if arguments.command == "add" else peer_table.REGISTRATIONS
    if arguments.table == "-":
        return peer_table.parse(
            sys.stdin.buffer.read(peer_table.LIMIT + 1), "standard input", columns
        ), "standard input"
    with open(arguments.table, "rb") as file:
        return peer_table.parse(file.read(peer_table.LIMIT + 1), arguments.table, columns), arguments.table


def refuse(table: Table, source: str) -> int:
    """Say what is wrong with the lines of a table, for a hub that has nothing registered."""
    from vpn.lib.hub.batches import BadLines

    return _refused(source, BadLines(table.problems, len(table.entries) + len(table.problems)))


def run(hub: Hub, table: Table, source: str, arguments: argparse.Namespace) -> int:
    """Run ``genconf --from`` or ``add --from``."""
    from vpn.lib.hub import batches

    progress = Bar()
    how = batches.How(arguments.keep_going, arguments.dry_run)
    try:
        if arguments.command == "add":
            let_in = batches.add(hub, table, how, progress.over)
            lines = [line for done in let_in.done for line in peer_lines.added(done, dry_run=how.dry_run)]
            problems, what = let_in.problems, f"{sum(done.changed for done in let_in.done)} let in"
        else:
            registered = batches.genconf(hub, table, how, progress.over)
            lines = [_registered(done, dry_run=how.dry_run) for done in registered.done]
            problems, what = registered.problems, f"{sum(done.new for done in registered.done)} new"
    except batches.BadLines as error:
        return _refused(source, error)
    finally:
        progress.clear()
    count = len(table.entries) + len(table.problems) - len(problems)
    lines.append(f"{count} component{'' if count == 1 else 's'}, {what}" + ("; nothing is changed" * how.dry_run))
    print("\n".join(lines))
    if problems:
        sys.stdout.flush()
        _report(source, problems)
        peer_lines.remark(f"{len(problems)} of {count + len(problems)} lines are bad and were left out")
        return 1
    return 0


def _registered(done: Configured, *, dry_run: bool) -> str:
    peer, new, invitation = done
    line = f"{peer.name}: {'registered' if new else 'was registered already'} at {peer.address}"
    if dry_run:
        line = f"{peer.name}: {'would be registered' if new else 'is registered already'} at {peer.address}"
    if peer.until is not None:
        line += f", until {shown(peer.until)}"
    return line if invitation is None else f"{line}, invited until {shown(invitation.expires)}"


def _refused(source: str, error: BadLines) -> int:
    _report(source, error.problems)
    peer_lines.remark(str(error))
    return 1


def _report(source: str, problems: list[Problem]) -> None:
    for problem in problems:
        peer_lines.remark(f"{source}, {problem}")


class Bar:
    """How far a long command is, as a line on stderr that moves; on a terminal only."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = False

    def over(self, items: Collection[_Item], what: str) -> Iterator[_Item]:
        """Go through the items."""
        total, due = len(items), 0.0
        shown = self._shown and total >= MANY
        for number, item in enumerate(items):
            if shown and time.monotonic() >= due:
                filled = WIDTH * number // total
                sys.stderr.write(f"\r{what} [{'#' * filled:<{WIDTH}}] {number} of {total}\x1b[K")
                sys.stderr.flush()
                self._drawn = True
                due = time.monotonic() + 0.1
            yield item
        self.clear()

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False
