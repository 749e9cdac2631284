"""Following the hub: what has changed there is asked for inside the tunnel, now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import control
from vpn.lib.component import next_keys
from vpn.lib.component.next_keys import ROTATION
from vpn.lib.component.talk import SETTLED_AFTER, Talk
from vpn.lib.version import VERSION

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from vpn.lib.component.next_keys import NextKeys
    from vpn.lib.component.settings import Settings
    from vpn.lib.component.talk import Answer
    from vpn.lib.files import Owner

FIRST_AFTER, AGAIN_AFTER, SELDOM = 2.0, 10.0, 60.0
"""Seconds from joining to the first question; to the next where the hub does not say; and where it does not know it."""

LONGEST = 600.0


class News(NamedTuple):
    """What the hub said: where it is now if that is elsewhere, and keys to go over to."""

    endpoint: str | None = None
    keys: NextKeys | None = None


NOTHING = News()


class Following:
    """One joined component. Asks in the background; ``look`` gives each piece of news once."""

    def __init__(self, folder: Path, owner: Owner | None, log: logging.Logger, now: float) -> None:
        self._folder = folder
        self._owner = owner
        self._log = log
        self._talk: Talk | None = None
        self._next_at = now + FIRST_AFTER
        self._agreed: tuple[float, NextKeys] | None = None
        kept = next_keys.load(folder)
        self.offered = kept if kept is not None and kept.purpose == ROTATION else None
        """Keys that the hub was offered, and may have taken."""
        self._said = ""

    def look(self, settings: Settings, endpoint: str, now: float, up: bool) -> News:
        """Ask when it is time, and say what is new. ``endpoint`` is where config.env says that the hub is."""
        if self._agreed is not None and now >= self._agreed[0]:
            keys, self._agreed = self._agreed[1], None
            return News(keys=keys)
        if self._talk is None:
            if up and now >= self._next_at:
                path = f"{control.STATE}?{control.VERSION}={VERSION}"
                self._talk = Talk(settings.hub_address, path, method="GET")
            return NOTHING
        talk, answer = self._talk, self._talk.answer
        if answer is None:
            return NOTHING
        self._talk, self._next_at = None, now + AGAIN_AFTER
        if talk.path == control.ROTATE:
            self._rotated(answer, now)
            return NOTHING
        if answer.status != 200:
            # An older hub, or one that is busy.
            self._next_at = now + (SELDOM if answer.status else AGAIN_AFTER)
            return NOTHING
        again = answer.content.get(control.AGAIN)
        if isinstance(again, int | float) and again > 0:
            self._next_at = now + min(float(again), LONGEST)
        if answer.content.get(control.ROTATION) is True:
            self._rotate(settings)
        elif self.offered is not None:
            # Heard over the keys of before: the hub has not taken these, and does not want them any more.
            next_keys.forget(self._folder)
            self.offered = None
        there = answer.content.get(control.ENDPOINT)
        return News(endpoint=there) if isinstance(there, str) and there != endpoint else NOTHING

    def _rotate(self, settings: Settings) -> None:
        keys = self.offered = next_keys.load_or_make(self._folder, self._owner, ROTATION)
        content = {
            control.PUBLIC_KEY: str(keys.private_key.public_key()),
            control.PRESHARED_KEY: keys.preshared_key.reveal(),
        }
        self._talk = Talk(settings.hub_address, control.ROTATE, content)

    def _rotated(self, answer: Answer, now: float) -> None:
        if answer.status == 200 and self.offered is not None:
            self._agreed = (now + SETTLED_AFTER, self.offered)
        elif answer.status and answer.message != self._said:
            self._said = answer.message
            self._log.warning("the hub does not take new keys: %s", answer.message)
