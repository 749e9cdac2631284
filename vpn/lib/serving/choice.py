"""Which components are shown, and in what order: as the page's address asks. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from vpn.lib.hub import selecting
from vpn.lib.hub.listing import STATES
from vpn.lib.registry.peer import PeerType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vpn.lib.hub.listing import View

SIZE = 100
"""Rows on a page."""

LONGEST = 100
"""Characters of what is looked for."""

TYPES = tuple(kind.value for kind in PeerType)

_ORDERS: dict[str, Callable[[View], tuple[object, ...]]] = {
    "name": lambda view: (TYPES.index(view.peer.name.type.value), view.peer.name.id.lower()),
    "address": lambda view: (view.peer.address,),
    "state": lambda view: (STATES.index(view.state),),
    "handshake": lambda view: (math.inf if view.age is None else view.age,),
    "received": lambda view: (-1 if view.observed is None else view.observed.received,),
    "sent": lambda view: (-1 if view.observed is None else view.observed.sent,),
    "version": lambda view: (selecting.ORDERS["version"](view),),
}
ORDERS = tuple(_ORDERS)


class Choice(NamedTuple):
    """What an address asks for. Empty texts choose all; ``page`` counts from 1."""

    type: str = ""
    state: str = ""
    text: str = ""
    order: str = ORDERS[0]
    down: bool = False
    page: int = 1

    @property
    def query(self) -> str:
        """The address's query that asks for this; what is so by default is not in it."""
        values = {
            "type": self.type,
            "state": self.state,
            "q": self.text,
            "sort": "" if self.order == ORDERS[0] else self.order,
            "down": "1" if self.down else "",
            "page": "" if self.page == 1 else str(self.page),
        }
        return "?" + urlencode({name: value for name, value in values.items() if value})

    def sorted_by(self, order: str) -> Choice:
        """The same by another order, from its beginning; by the same one the other way round."""
        return self._replace(order=order, down=order == self.order and not self.down, page=1)

    def at(self, page: int) -> Choice:
        """Another page of the same."""
        return self._replace(page=page)


class Rows(NamedTuple):
    """A page of what was chosen: ``first`` to ``last`` of ``count``, counted from 1."""

    views: Sequence[View]
    choice: Choice
    total: int
    pages: int

    @property
    def first(self) -> int:
        """The number of the first row, 0 where there is none."""
        return (self.choice.page - 1) * SIZE + 1 if self.total else 0

    @property
    def last(self) -> int:
        """The number of the last row."""
        return (self.choice.page - 1) * SIZE + len(self.views)


def parse(query: Mapping[str, str]) -> Choice:
    """What an address's query asks for; what it cannot mean is taken as not said."""
    page = query.get("page", "")
    return Choice(
        query["type"] if query.get("type") in TYPES else "",
        query["state"] if query.get("state") in STATES else "",
        query.get("q", "").strip()[:LONGEST],
        query["sort"] if query.get("sort") in _ORDERS else ORDERS[0],
        query.get("down") == "1",
        int(page) if page.isascii() and page.isdecimal() and 0 < len(page) < 7 and int(page) else 1,
    )


def choose(views: Sequence[View], choice: Choice) -> Rows:
    """The rows that the choice asks for; past the end, the last page."""
    wanted = choice.text.lower()
    found = [
        view
        for view in views
        if (not choice.type or view.peer.name.type.value == choice.type)
        and (not choice.state or view.state == choice.state)
        and (not wanted or wanted in _searched(view))
    ]
    # Those that are equal stay in the order of their names.
    found.sort(key=_ORDERS[ORDERS[0]])
    if choice.order != ORDERS[0] or choice.down:
        found.sort(key=_ORDERS[choice.order], reverse=choice.down)
    pages = max(1, -(-len(found) // SIZE))
    shown = choice.at(min(choice.page, pages))
    return Rows(found[(shown.page - 1) * SIZE : shown.page * SIZE], shown, len(found), pages)


def _searched(view: View) -> str:
    endpoint = "" if view.observed is None or view.observed.endpoint is None else str(view.observed.endpoint)
    return f"{view.peer.name.id} {view.peer.address} {endpoint}".lower()
