"""``list --watch``: the table, drawn anew every few seconds on a terminal."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vpn.lib.hub import listing, selecting

if TYPE_CHECKING:
    from collections.abc import Callable

    from vpn.lib.hub.listing import View
    from vpn.lib.hub.selecting import Selection
    from vpn.lib.hub.service import Hub

STYLES = {
    "invited": "cyan",
    "registered": "bright_black",
    "added": "yellow",
    "active": "green",
    "disabled": "red",
    "expired": "red",
}
AROUND = 5
"""Lines of the screen that are no peers'."""


def watch(open_hub: Callable[[], Hub], selection: Selection, pause: float) -> int:
    """Show what is selected until Ctrl-C or SIGTERM, which is its regular end; then the terminal is as it was."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                with open_hub() as hub:
                    views = listing.view(hub)
                live.update(_screen(views, selecting.choose(views, selection), pause, console.height), refresh=True)
                time.sleep(pause)
    except KeyboardInterrupt:
        return 0


def _screen(views: list[View], chosen: list[View], pause: float, height: int) -> Group:
    count = Counter(item.state for item in views)
    states = ", ".join(f"{count[state]} {state}" for state in selecting.STATES if count[state])
    clock = time.strftime("%H:%M:%S UTC", time.gmtime())
    title = f"{clock}  {len(views)} components" + (f": {states}" if states else "")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in listing.HEAD:
        table.add_column(name, no_wrap=True)
    room = max(1, height - AROUND)
    shown = chosen if len(chosen) <= room else chosen[: room - 1]
    for item in shown:
        # Text, not str: an address in brackets is no markup.
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in listing.row(item)))
    rest = len(chosen) - len(shown)
    more = f"and {rest} more; --type, --state, --stale and --sort choose" if rest else ""
    return Group(Text(title), "", table, Text(more), Text(f"every {pause:g} s; Ctrl-C ends it", "bright_black"))
