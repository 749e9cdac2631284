"""Joining by invitation: keys of one's own, handed to the hub through the tunnel that the invitation opens.

The invitation dies with its use, and the hub's answer can be lost with it. So the component tries by turns: to hand its
keys over, and whether they have been taken already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import control
from vpn.lib.component import next_keys
from vpn.lib.component.joining import TRY_EACH
from vpn.lib.component.talk import SETTLED_AFTER, Talk
from vpn.lib.version import VERSION

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from vpn.lib.component.next_keys import NextKeys
    from vpn.lib.component.settings import Settings
    from vpn.lib.files import Owner
    from vpn.lib.wireguard.keys import PrivateKey
    from vpn.lib.wireguard.types import ObservedPeer

ASKING, CHECKING = "asking", "checking"

ASK_FOR, ASK_EVERY = 6.0, 0.5
"""Seconds that a hub which does not listen is asked, and between two times."""


class Enrolling:
    """One invitation. ``guise`` is who the component is at this moment; ``look`` tells when that changes."""

    def __init__(self, folder: Path, owner: Owner | None, settings: Settings, log: logging.Logger) -> None:
        assert settings.invitation is not None
        self._invitation = settings.invitation
        self._settings = settings
        self._log = log
        purpose = str(self._invitation.private_key.public_key())
        self.keys: NextKeys = next_keys.load_or_make(folder, owner, purpose)
        self._phase = ASKING
        self._talk: Talk | None = None
        self._since = self._asked_at = 0.0
        self._agreed_at: float | None = None
        self._said = ""
        self._refused = ""
        self.done = False

    @property
    def guise(self) -> tuple[Settings, PrivateKey]:
        """The settings and the key to join with now."""
        if self._phase == ASKING:
            return self._settings._replace(address=self._invitation.address), self._invitation.private_key
        return self._settings._replace(preshared_key=self.keys.preshared_key), self.keys.private_key

    @property
    def asks(self) -> bool:
        """Whether the hub is to be asked for a sign of life: it answers no other question of a guest."""
        return self._phase == CHECKING

    def begin(self, now: float) -> None:
        """The tunnel of this guise is up."""
        self._since = now
        self._talk = None
        if self._phase == ASKING:
            self._ask(now)

    def _ask(self, now: float) -> None:
        self._asked_at = now
        content = {
            control.PUBLIC_KEY: str(self.keys.private_key.public_key()),
            control.PRESHARED_KEY: self.keys.preshared_key.reveal(),
            control.VERSION: VERSION,
        }
        self._talk = Talk(self._settings.hub_address, control.ENROL, content)

    def look(self, peer: ObservedPeer | None, now: float) -> bool:
        """Whether the guise has changed. ``done`` is true once the hub has the component's keys."""
        if self._phase == CHECKING:
            if peer is not None and peer.latest_handshake is not None:
                self.done = True
            elif now - self._since >= TRY_EACH:
                self._say_why()
                self._phase = ASKING
                return True
            return False
        if self._agreed_at is not None:
            self.done = now - self._agreed_at >= SETTLED_AFTER
            return self.done
        answer = None if self._talk is None else self._talk.answer
        if answer is None:
            return False
        if answer.status == 200:
            self._log.info("enrolled as %s", answer.message, extra={"event": "enrolled"})
            self._agreed_at = now
            return False
        if not answer.status and now - self._since < ASK_FOR:
            # The hub has only just started, or is about to.
            if now - self._asked_at >= ASK_EVERY:
                self._ask(now)
            return False
        self._refused = answer.message if answer.status else ""
        self._phase = CHECKING
        return True

    def _say_why(self) -> None:
        hub = f"{self._settings.hub_host}, UDP port {self._settings.hub_port}"
        why = (
            f"the hub refuses the invitation: {self._refused}"
            if self._refused
            else f"the hub at {hub} does not answer to the invitation: it was used, has expired or was withdrawn (ask"
            " for a new config.env), or the way there is closed"
        )
        if why != self._said:
            self._log.warning("%s; trying on", why, extra={"event": "enrolment-refused"})
        self._said = why
