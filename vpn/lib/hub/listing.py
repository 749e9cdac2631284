"""``list`` and ``show``: the registry's peers with what wg0 knows of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import DeviceError
from vpn.lib.registry.peer import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from vpn.lib.hub.service import Hub
    from vpn.lib.registry.peer import Invitation, Peer, PeerName
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import ObservedPeer

ACTIVE = 180
"""Seconds since its handshake that a peer counts as active: no session lives longer (whitepaper, section 6.1)."""

COLOURS = {
    "invited": "36",
    "registered": "90",
    "added": "33",
    "active": "32",
    "disabled": "31",
    "expired": "31",
}
"""The states, in the order of a peer's life, and the colours (SGR) that they have on a terminal."""

STATES = ("active", "added", "invited", "registered", "disabled", "expired")
"""The same, those that talk first."""

HEAD = ("TYPE", "ID", "ADDRESS", "STATE", "HANDSHAKE", "RECEIVED", "SENT", "ENDPOINT", "VERSION", "UNTIL")
NOBODY = "no components yet; register one with `configure_peer.py genconf TYPE ID`"


class View(NamedTuple):
    """A peer for showing. ``observed`` is None where wg0 does not hold it, or is not there."""

    peer: Peer
    observed: ObservedPeer | None
    now: float
    invitation: Invitation | None = None

    @property
    def age(self) -> float | None:
        """Seconds since the latest handshake, None when there was none."""
        if self.observed is None or self.observed.latest_handshake is None:
            return None
        return max(0.0, self.now - self.observed.latest_handshake)

    @property
    def invited_until(self) -> float | None:
        """When its invitation ends, None where it has none that is still good."""
        invitation = self.invitation
        if invitation is None or invitation.expired or invitation.expires <= self.now:
            return None
        return invitation.expires

    @property
    def until(self) -> float | None:
        """When its invitation ends, where it has no key yet, else when it does itself; None for never."""
        if self.invitation is not None and self.peer.public_key is None:
            return self.invitation.expires
        return self.peer.until

    @property
    def state(self) -> str:
        """One of ``COLOURS``: ``registered`` and ``invited`` without a key, ``active`` with a fresh handshake.

        ``expired`` is who reached its end, and who has no key and an invitation that did.
        """
        peer = self.peer
        if peer.standing is not Standing.ENABLED:
            return str(peer.standing.value)
        if peer.until is not None and peer.until <= self.now:
            return "expired"
        if peer.public_key is None:
            if self.invitation is None:
                return "registered"
            return "expired" if self.invited_until is None else "invited"
        return "active" if self.age is not None and self.age < ACTIVE else "added"


def view(hub: Hub) -> list[View]:
    """All peers, by type and id. Where wg0 is not there or does not answer, without what it knows."""
    observed, now = _observe(hub), time.time()
    invitations = {invitation.name: invitation for invitation in hub.invitations()}
    if not invitations:
        return [_view(peer, observed, now, None) for peer in hub.peers()]
    return [_view(peer, observed, now, invitations.get(peer.name)) for peer in hub.peers()]


def view_one(hub: Hub, name: PeerName) -> View:
    """One peer. Raises Refused when it is not registered."""
    return _view(hub.peer(name), _observe(hub), time.time(), hub.invitation(name))


def as_json(views: Iterable[View]) -> str:
    """A JSON array of peers, one object each; without secrets."""
    import json

    # An object a line; with an indent, json leaves its quick encoder.
    encode = json.JSONEncoder(check_circular=False).encode
    return "[" + ",\n ".join([encode(_dictionary(item)) for item in views]) + "]"


def one_as_json(item: View) -> str:
    """One peer as a JSON object; without secrets."""
    import json

    return json.dumps(_dictionary(item), indent=1)


def as_table(views: list[View], *, colour: bool = False) -> str:
    """A table for people, its states in colour where that is asked for."""
    if not views:
        return NOBODY
    state = HEAD.index("STATE")

    def painted(column: int, cell: str) -> str:
        code = COLOURS.get(cell.rstrip()) if column == state else None
        return cell if code is None else f"\x1b[{code}m{cell}\x1b[0m"

    return table([HEAD, *map(row, views)], painted if colour else None)


def table(rows: list[tuple[str, ...]], paint: Callable[[int, str], str] | None = None) -> str:
    """Rows in columns as wide as they need to be; ``paint`` gets each cell at its width, with its column's number."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        if paint is not None:
            padded = [paint(number, cell) for number, cell in enumerate(padded)]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def one_as_text(item: View, config: Path) -> str:
    """One peer for people."""
    _, _, address, state, handshake, received, sent, endpoint, version, _ = row(item)
    until, invited = item.peer.until, item.invited_until
    lines = {
        "address": address,
        "state": state,
        **({} if until is None else {"until": _moment(until)}),
        **({} if invited is None else {"invited until": _moment(invited)}),
        "public key": str(item.peer.public_key or "none yet; `add` gives it one"),
        "latest handshake": handshake,
        "received, sent": f"{received}, {sent}",
        "endpoint": endpoint,
        "version": version,
        "registered": _moment(item.peer.created),
        "changed": _moment(item.peer.changed),
        "config.env": str(config),
    }
    width = max(map(len, lines)) + 2
    return "\n".join([str(item.peer.name), *(f"  {label + ':':<{width}}{value}" for label, value in lines.items())])


def _observe(hub: Hub) -> Mapping[PublicKey, ObservedPeer]:
    try:
        return hub.observe().peers
    except DeviceError:
        return {}


def _view(peer: Peer, observed: Mapping[PublicKey, ObservedPeer], now: float, invitation: Invitation | None) -> View:
    return View(peer, None if peer.public_key is None else observed.get(peer.public_key), now, invitation)


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
        "version": peer.version,
        "until": None if peer.until is None else round(peer.until, 3),
        "invited_until": None if item.invitation is None else item.invited_until,
    }


def row(item: View) -> tuple[str, ...]:
    """A peer's cells of the table."""
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
        peer.version or "-",
        "-" if item.until is None else _moment(item.until).removesuffix(" UTC")[:16],
    )


def _moment(moment: float) -> str:
    # What the clock cannot show is after all that it can.
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
    except (ValueError, OverflowError, OSError):
        return "the end of time"


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
