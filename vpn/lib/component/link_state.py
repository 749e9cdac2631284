"""Is the hub there? Decided from the device's counters alone, with an injected clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vpn.lib.wireguard.types import ObservedPeer

SESSION_LIFE = 180.0
"""Seconds after its handshake that a session is refused by everybody (whitepaper, REJECT_AFTER_TIME)."""

QUIET = 20.0
"""Seconds without a received byte until the hub is asked for a sign of life."""

ASK_EVERY = 3.0
"""Seconds between two such questions."""

RESOLVE_AFTER = 15.0
"""Seconds without a sign of life until the hub's name is resolved again."""


class Advice(NamedTuple):
    """What to do now: ``ask`` sends a packet into the tunnel, ``resolve`` looks the hub's name up again."""

    ask: bool
    resolve: bool
    up: bool


class LinkState:
    """Follows one peer's counters.

    A boringtun or gotatun client stops its handshakes 90 s after the hub has gone, for good, unless
    something is sent into the tunnel. So when nothing has been received for a while, something is: it makes
    the daemon try again, and a live hub answers it with at least a keepalive within 10 s.
    """

    def __init__(self, now: float) -> None:
        self._received = -1
        self._heard = now
        self._asked = -ASK_EVERY
        self._resolved = now

    def look(self, peer: ObservedPeer | None, now: float, age: float | None) -> Advice:
        """Judge the peer as observed; ``now`` is monotonic, ``age`` seconds since its handshake, None if none."""
        received = peer.received if peer is not None else 0
        if received > max(self._received, 0):
            self._heard = now
        self._received = received
        up = age is not None and age < SESSION_LIFE
        silent = now - self._heard
        ask = (not up or silent >= QUIET) and now - self._asked >= ASK_EVERY
        if ask:
            self._asked = now
        resolve = (not up or silent >= QUIET + RESOLVE_AFTER) and now - max(
            self._heard, self._resolved
        ) >= RESOLVE_AFTER
        if resolve:
            self._resolved = now
        return Advice(ask, resolve, up)
