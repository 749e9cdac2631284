"""``list`` and ``show``: the registry's peers with what wg0 knows of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import DeviceError
from vpn.lib.registry.peer import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from vpn.lib.hub.service import Hub
    from vpn.lib.registry.peer import Peer, PeerName
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import ObservedPeer

ACTIVE = 180
"""Seconds since its handshake that a peer counts as active: no session lives longer (whitepaper, section 6.1)."""

STATES = ("active", "added", "registered", "disabled", "expired")
"""Of a peer (``View.state``)."""


class View(NamedTuple):
    """A peer for showing. ``observed`` is None where wg0 does not hold it, or is not there."""

    peer: Peer
    observed: ObservedPeer | None
    now: float

    @property
    def age(self) -> float | None:
        """Seconds since the latest handshake, None when there was none."""
        if self.observed is None or self.observed.latest_handshake is None:
            return None
        return max(0.0, self.now - self.observed.latest_handshake)

    @property
    def state(self) -> str:
        """One of ``STATES``: ``registered`` is without a key, ``active`` has a fresh handshake, ``added`` has none."""
        if self.peer.standing is not Standing.ENABLED:
            return str(self.peer.standing.value)
        if self.peer.public_key is None:
            return "registered"
        return "active" if self.age is not None and self.age < ACTIVE else "added"


def view(hub: Hub) -> list[View]:
    """All peers, by type and id. Where wg0 is not there or does not answer, without what it knows."""
    observed, now = _observe(hub), time.time()
    return [_view(peer, observed, now) for peer in hub.peers()]


def view_one(hub: Hub, name: PeerName) -> View:
    """One peer. Raises Refused when it is not registered."""
    return _view(hub.peer(name), _observe(hub), time.time())


def as_json(views: Iterable[View]) -> str:
    """A JSON array of peers, one object each; without secrets."""
    import json

    # An object a line; with an indent, json leaves its quick encoder.
    return "[" + ",\n ".join(json.dumps(_dictionary(item)) for item in views) + "]"


def one_as_json(item: View) -> str:
    """One peer as a JSON object; without secrets."""
    import json

    return json.dumps(_dictionary(item), indent=1)


def as_table(views: list[View]) -> str:
    """A table for people."""
    if not views:
        return "no components yet; register one with `configure_peer.py genconf TYPE ID`"
    head = ("TYPE", "ID", "ADDRESS", "STATE", "HANDSHAKE", "RECEIVED", "SENT", "ENDPOINT")
    return table([head, *(row(item) for item in views)])


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def one_as_text(item: View, config: Path) -> str:
    """One peer for people."""
    _, _, address, state, handshake, received, sent, endpoint = row(item)
    lines = {
        "address": address,
        "state": state,
        "public key": str(item.peer.public_key or "none yet; `add` gives it one"),
        "latest handshake": handshake,
        "received, sent": f"{received}, {sent}",
        "endpoint": endpoint,
        "registered": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(item.peer.created)),
        "changed": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(item.peer.changed)),
        "config.env": str(config),
    }
    width = max(map(len, lines)) + 2
    return "\n".join([str(item.peer.name), *(f"  {label + ':':<{width}}{value}" for label, value in lines.items())])


def _observe(hub: Hub) -> Mapping[PublicKey, ObservedPeer]:
    try:
        return hub.observe().peers
    except DeviceError:
        return {}


def _view(peer: Peer, observed: Mapping[PublicKey, ObservedPeer], now: float) -> View:
    return View(peer, None if peer.public_key is None else observed.get(peer.public_key), now)


def _dictionary(item: View) -> dict[str, object]:
    peer, observed = item.peer, item.observed
    return {
        "type": peer.name.type.value,
        "id": peer.name.id,
        "address": str(peer.address),
        "state": item.state,
        "public_key": None if peer.public_key is None else str(peer.public_key),
        "latest_handshake": None
        if observed is None or observed.latest_handshake is None
        else round(observed.latest_handshake, 3),
        "endpoint": None if observed is None or observed.endpoint is None else str(observed.endpoint),
        "received": None if observed is None else observed.received,
        "sent": None if observed is None else observed.sent,
    }


def row(item: View) -> tuple[str, ...]:
    """A peer as people read it: type, id, address, state, handshake, received, sent, endpoint."""
    peer, observed = item.peer, item.observed
    return (
        peer.name.type.value,
        peer.name.id,
        str(peer.address),
        item.state,
        "-" if item.age is None else f"{_duration(item.age)} ago",
        "-" if observed is None else _size(observed.received),
        "-" if observed is None else _size(observed.sent),
        "-" if observed is None or observed.endpoint is None else str(observed.endpoint),
    )


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
