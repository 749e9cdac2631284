"""``list`` and ``show`` of configure_peer.py."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from vpn.bin import coloured
from vpn.lib.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from vpn.bin import Parser
    from vpn.lib.hub.service import Hub
    from vpn.lib.registry.peer import PeerName

STATES = ("invited", "registered", "added", "active", "disabled", "expired")
COLUMNS = ("type", "id", "address", "state", "handshake", "received", "sent", "endpoint", "version", "until")
PAUSE = 2.0
"""Seconds between two looks of ``--watch``."""


def add_parser(commands: argparse._SubParsersAction[Parser], types: Collection[str]) -> None:
    """The arguments of ``list``."""
    child = commands.add_parser(
        "list",
        help="list components, how they are, and their traffic",
        description="List all components, or those that are asked for.",
        epilog="""examples:
  configure_peer.py list
  configure_peer.py list --type node --stale 1h --sort handshake
  configure_peer.py list --state invited,registered
  configure_peer.py list --watch
  configure_peer.py list --json

States: invited and registered have no key yet; added may come in; active had a handshake in the last 3 minutes;
disabled and expired are kept out. Durations: 30s, 15m, 2h, 3d.""",
    )
    child.add_argument(
        "--type",
        dest="types",
        metavar="TYPE",
        action="extend",
        default=[],
        type=_several("type", types),
        help="those of this type; repeat it, or write several with commas",
    )
    child.add_argument(
        "--state",
        dest="states",
        metavar="STATE",
        action="extend",
        default=[],
        type=_several("state", STATES),
        help="those in this state; likewise",
    )
    child.add_argument(
        "--stale",
        metavar="DURATION",
        type=_duration,
        help="those that are let in and had no handshake for so long, or never",
    )
    child.add_argument(
        "--sort",
        metavar="COLUMN",
        choices=COLUMNS,
        default="",
        help="by this column: the latest handshake and the most traffic first (default: by type and id)",
    )
    form = child.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        const=PAUSE,
        type=_seconds,
        help=f"go on showing it, anew every so many seconds ({PAUSE:g}), until Ctrl-C",
    )


def _several(what: str, known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word[:40]!a} is no {what}; choose from {', '.join(known)}")
        return words

    return parse


def _duration(text: str) -> float:
    from vpn.lib.hub.when import parse_duration

    try:
        return parse_duration(text, "")
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error).strip()) from error


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0.2 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text[:40]!a} is no number of seconds from 0.2 to 3600")
    return value


def check(arguments: argparse.Namespace) -> None:
    """Refuse to draw where nobody sees it. Raises Refused."""
    if arguments.watch is not None and not (sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "", None)):
        raise Refused("--watch draws on a terminal, and stdout is none; leave it out, or write --json for programs")


def show_all(open_hub: Callable[[], Hub], arguments: argparse.Namespace) -> int:
    """Run ``list``."""
    from vpn.lib.hub import listing, selecting

    selection = selecting.Selection(arguments.types, arguments.states, arguments.stale, arguments.sort)
    if arguments.watch is not None:
        from vpn.bin import watching

        # Opened anew for each look: it sees a registry that was restored, and keeps nobody waiting.
        return watching.watch(open_hub, selection, arguments.watch)
    with open_hub() as hub:
        views = listing.view(hub)
    chosen = selecting.choose(views, selection)
    if arguments.json:
        print(listing.as_json(chosen))
    elif views and not chosen:
        print("no component is like that; `configure_peer.py list` shows all of them")
    else:
        print(listing.as_table(chosen, colour=coloured(sys.stdout)))
    return 0


def show(hub: Hub, name: PeerName, *, as_json: bool) -> None:
    """Run ``show``."""
    from vpn.lib.hub import listing

    view = listing.view_one(hub, name)
    print(listing.one_as_json(view) if as_json else listing.one_as_text(view, hub.config_path(name)))
