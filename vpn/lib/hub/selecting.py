"""Which of the listed peers are shown, and in which order. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.hub.listing import COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from vpn.lib.hub.listing import View

STATES = tuple(COLOURS)
IN = ("added", "active")
"""The states of those that are let in."""


class Selection(NamedTuple):
    """What is asked for: nothing asked for of a kind is all of it.

    ``stale`` is for how many seconds at least there was no handshake with a component that is let in.
    """

    types: Collection[str] = ()
    states: Collection[str] = ()
    stale: float | None = None
    sort: str = ""


def choose(views: list[View], selection: Selection) -> list[View]:
    """Those that are asked for, sorted. One that was never seen is as stale as can be."""
    types, states, stale, sort = selection
    if types:
        views = [item for item in views if item.peer.name.type.value in types]
    if states:
        views = [item for item in views if item.state in states]
    if stale is not None:
        views = [item for item in views if item.state in IN and (item.age is None or item.age >= stale)]
    return sorted(views, key=ORDERS[sort]) if sort else views


def _last(value: Any) -> tuple[bool, Any]:
    """What is not known comes after all that is."""
    return (value is None, 0 if value is None else value)


def _endpoint(item: View) -> tuple[bool, Any]:
    endpoint = None if item.observed is None else item.observed.endpoint
    return _last(None if endpoint is None else (endpoint.address.version, int(endpoint.address), endpoint.port))


def _version(item: View) -> tuple[bool, Any]:
    text = item.peer.version
    if text is None:
        return _last(None)
    # 0.10 after 0.9; what is no number is a text among them.
    return _last([(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in text.split(".")])


ORDERS: dict[str, Callable[[View], Any]] = {
    "type": lambda item: (item.peer.name.type.value, item.peer.name.id),
    "id": lambda item: (item.peer.name.id.lower(), item.peer.name.type.value),
    "address": lambda item: int(item.peer.address),
    "state": lambda item: STATES.index(item.state),
    "handshake": lambda item: _last(item.age),
    "received": lambda item: _last(None if item.observed is None else -item.observed.received),
    "sent": lambda item: _last(None if item.observed is None else -item.observed.sent),
    "endpoint": _endpoint,
    "version": _version,
    "until": lambda item: _last(item.until),
}
"""By the name of a column: the latest handshake and the most traffic first."""
