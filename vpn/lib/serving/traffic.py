"""Traffic summed up by type of peer, as counters that only grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.registry.peer import PeerType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.hub.listing import View
    from vpn.lib.wireguard.keys import PublicKey


class Bytes(NamedTuple):
    """Encrypted traffic, as wg0 counts it: received by the hub, and sent."""

    received: int = 0
    sent: int = 0

    def plus(self, other: Bytes) -> Bytes:
        """Both together."""
        return Bytes(self.received + other.received, self.sent + other.sent)


class Traffic:
    """Sums of what the peers of a type have received and sent since this was made, and before as far as wg0 knew.

    wg0 counts for each peer, from zero when it is added, and so also when the WireGuard daemon was replaced. A sum of
    these would fall with each peer that goes, which Prometheus takes for a restart: it would count all of the others'
    traffic again.
    """

    def __init__(self) -> None:
        self._seen: dict[PublicKey, Bytes] = {}
        self.sums = dict.fromkeys(PeerType, Bytes())

    def add(self, views: Iterable[View]) -> None:
        """Count what was added since the last time. The views are of a reading in which wg0 answered."""
        seen: dict[PublicKey, Bytes] = {}
        for view in views:
            if view.observed is None:
                continue
            key, now = view.observed.public_key, Bytes(view.observed.received, view.observed.sent)
            before = self._seen.get(key, Bytes())
            if now.received < before.received or now.sent < before.sent:
                before = Bytes()
            more = Bytes(now.received - before.received, now.sent - before.sent)
            self.sums[view.peer.name.type] = self.sums[view.peer.name.type].plus(more)
            seen[key] = now
        self._seen = seen
