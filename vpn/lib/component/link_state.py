"""Is the hub there? Decided from the device's counters alone, with an injected clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vpn.lib.wireguard.types import ObservedPeer

SESSION_LIFE = 180.0
"""Seconds after its handshake that a session is refused by everybody (whitepaper, REJECT_AFTER_TIME)."""

RESOLVE_AFTER = 15.0
"""Seconds without a sign of life, after the first question, until the hub's name is resolved again."""


class Pace(NamedTuple):
    """How a silent hub is asked for a sign of life, in seconds.

    ``quiet`` is the silence until the first question, ``ask_every`` the time between two; ``renew_after`` is the
    silence until the session is given up and a new one asked for, and ``look_every`` how often to look meanwhile.
    """

    quiet: float
    ask_every: float
    renew_after: float
    look_every: float


ECHO = Pace(quiet=1.5, ask_every=0.5, renew_after=3.0, look_every=0.5)
"""Where the question is an ICMP echo, which a live hub answers at once however many ask it."""

DATAGRAM = Pace(quiet=20.0, ask_every=3.0, renew_after=33.0, look_every=1.0)
"""Where it is a datagram to a closed port: a live hub answers with an error of ICMP, which Linux limits for the whole
machine, or with the keepalive that WireGuard owes after 10 s (whitepaper, section 6.5)."""

RENEW_EVERY, RENEW_SELDOM, EAGER_FOR = 2.0, 5.0, 30.0
"""Seconds between two new sessions that are asked for; the second one after that much silence. WireGuard itself tries
every 5 s (REKEY_TIMEOUT)."""


class Advice(NamedTuple):
    """What to do now.

    ``ask`` sends a packet into the tunnel; ``renew`` gives up the session, which the hub may not know any more, for a
    new handshake; ``resolve`` looks the hub's name up again.
    """

    ask: bool
    renew: bool
    resolve: bool
    up: bool


class LinkState:
    """Follows one peer's counters.

    A boringtun or gotatun client stops its handshakes 90 s after the hub has gone, for good, unless
    something is sent into the tunnel; and every client takes 15 s to notice that a hub has been restarted, unless
    that hub finds it first, which it cannot through every NAT. So when nothing has been received for a while, the hub
    is asked, and when that is not answered, for a new session.
    """

    def __init__(self, now: float, pace: Pace = DATAGRAM) -> None:
        self._pace = pace
        self._received = -1
        self._heard = now
        self._asked = -pace.ask_every
        self._unanswered = 0
        self._renewed = self._resolved = now

    def look(self, peer: ObservedPeer | None, now: float, age: float | None) -> Advice:
        """Judge the peer as observed; ``now`` is monotonic, ``age`` seconds since its handshake, None if none."""
        received = peer.received if peer is not None else 0
        if received > max(self._received, 0):
            self._heard = now
            self._unanswered = 0
        self._received = received
        up = age is not None and age < SESSION_LIFE
        silent = now - self._heard
        renew = (
            silent >= self._pace.renew_after
            and self._unanswered >= 2
            and now - self._renewed >= (RENEW_EVERY if silent < EAGER_FOR else RENEW_SELDOM)
        )
        if renew:
            self._renewed = now
        ask = renew or ((not up or silent >= self._pace.quiet) and now - self._asked >= self._pace.ask_every)
        if ask:
            self._asked = now
            self._unanswered += 1
        resolve = (not up or silent >= self._pace.quiet + RESOLVE_AFTER) and now - max(
            self._heard, self._resolved
        ) >= RESOLVE_AFTER
        if resolve:
            self._resolved = now
        return Advice(ask, renew, resolve, up)

    def pause(self, now: float) -> float:
        """Seconds until the next look."""
        return self._pace.look_every if now - self._heard >= self._pace.quiet - 1.0 else 1.0
