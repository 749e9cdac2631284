"""Who the component is to its hub, and how that changes: by invitation, by rotation, and where the hub is."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from vpn.lib import config_env, files
from vpn.lib.component import next_keys, settings as component_settings
from vpn.lib.component.enrolling import Enrolling
from vpn.lib.component.following import Following
from vpn.lib.component.joining import TRY_EACH
from vpn.lib.control import ENDPOINT_BEFORE
from vpn.lib.errors import InvalidInput, StateError

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from vpn.lib.component.joining import Joining
    from vpn.lib.component.link_state import Advice
    from vpn.lib.component.next_keys import NextKeys
    from vpn.lib.component.settings import Settings
    from vpn.lib.files import Owner
    from vpn.lib.wireguard.keys import PresharedKey, PrivateKey
    from vpn.lib.wireguard.types import ObservedPeer


class Step(Enum):
    """What an enrolment needs next: nothing, the tunnel in another guise, or a look at the settings, which are new."""

    STAY = "stay"
    CHANGE = "change"
    DONE = "done"


class Membership:
    """One component's. ``guise`` is asked before each new tunnel, ``began`` told after it; all in monotonic seconds."""

    def __init__(self, folder: Path, owner: Owner | None, key: PrivateKey, log: logging.Logger) -> None:
        self._folder = folder
        self._owner = owner
        self._key = key
        self._log = log
        self._enrolling: Enrolling | None = None
        self._following: Following | None = None
        # Keys that the hub may have taken; whether they are in use; since when either are.
        self._pending: NextKeys | None = None
        self._using_pending = False
        self._since = 0.0
        self.preshared_key: PresharedKey | None = None
        """The one in force, None before there is one."""

    @property
    def enrolling(self) -> bool:
        """Whether it is a guest still."""
        return self._enrolling is not None

    @property
    def key(self) -> PrivateKey:
        """The component's private key."""
        return self._key

    def settled_on(self, settings: Settings, now: float) -> None:
        """These settings are in force from now on. Raises StateError where keys cannot be kept."""
        self._pending, self._using_pending = None, False
        self.preshared_key = settings.preshared_key
        self._since = now
        self._enrolling = self._following = None
        if settings.invitation is not None:
            self._enrolling = Enrolling(self._folder, self._owner, settings, self._log)
        else:
            self._following = Following(self._folder, self._owner, self._log, now)
            self._pending = self._following.offered

    def guise(self, settings: Settings) -> tuple[Settings, PrivateKey]:
        """What to join with."""
        return (settings, self._key) if self._enrolling is None else self._enrolling.guise

    def began(self, now: float) -> None:
        """The tunnel is up."""
        self._since = now
        if self._enrolling is not None:
            self._enrolling.begin(now)

    def enrol(self, joining: Joining, peer: ObservedPeer | None, now: float) -> Step:
        """One look at an enrolment."""
        enrolling = self._enrolling
        assert enrolling is not None
        if enrolling.asks:
            joining.ask()
        changed = enrolling.look(peer, now)
        if not enrolling.done:
            return Step.CHANGE if changed else Step.STAY
        self._settle(enrolling.keys)
        self._enrolling = None
        return Step.DONE

    def look(self, joining: Joining, peer: ObservedPeer | None, now: float, advice: Advice) -> bool:
        """One look of a member. Whether config.env was written: its reader knows what is in it already."""
        written = self._rotate(joining, peer, now, advice)
        following = self._following
        if following is None:
            return written
        endpoint = dict(joining.settings.application).get(component_settings.ENDPOINT, "")
        try:
            news = following.look(joining.settings, endpoint, now, advice.up)
        except StateError as error:
            self._log.warning("%s", error)
            return written
        if not self._using_pending:
            self._pending = following.offered
        if news.keys is not None:
            self._log.info("going over to new keys", extra={"event": "keys-changed"})
            self._use(joining, now, pending=True)
        if news.endpoint is not None:
            written |= self._move(joining, news.endpoint, endpoint)
        return written

    def _rotate(self, joining: Joining, peer: ObservedPeer | None, now: float, advice: Advice) -> bool:
        """Find out which of two keys the hub knows, where that is open; whether config.env was written."""
        if self._pending is None:
            return False
        heard = peer is not None and peer.latest_handshake is not None
        if self._using_pending and heard:
            settled, self._pending, self._using_pending = self._pending, None, False
            if self._following is not None:
                self._following.offered = None
            return self._settle(settled)
        if (not heard or advice.renew) and now - self._since >= TRY_EACH:
            self._use(joining, now, pending=not self._using_pending)
        elif self._using_pending and not heard:
            joining.ask()
        return False

    def _use(self, joining: Joining, now: float, *, pending: bool) -> None:
        assert self._pending is not None
        # Before anything can fail: a daemon that takes no other key while it runs is started anew with it.
        self._using_pending, self._since = pending, now
        if pending:
            joining.rekey(self._pending.private_key, self._pending.preshared_key)
        else:
            assert self.preshared_key is not None
            joining.rekey(self._key, self.preshared_key)
        joining.ask()

    def _settle(self, keys: NextKeys) -> bool:
        """Make the keys the component's; whether config.env was written."""
        self._key, self.preshared_key = keys.private_key, keys.preshared_key
        try:
            next_keys.settle(self._folder, self._owner, keys)
        except (StateError, InvalidInput) as error:
            self._log.error("the new keys are in use, but are not kept in config.env: %s", error)
            return False
        self._log.info("the hub has this component's keys; public key %s", keys.private_key.public_key())
        return True

    def _move(self, joining: Joining, there: str, before: str) -> bool:
        """Look for the hub where it says it is; whether config.env was written."""
        settings = joining.settings
        try:
            host, port = component_settings.parse_endpoint(there)
        except InvalidInput as error:
            self._log.warning("the hub says that it is at %s, which %s", ascii(there[:80]), error)
            return False
        self._log.info("the hub has moved to %s", there, extra={"event": "hub-moved"})
        application = tuple(
            (name, there if name == component_settings.ENDPOINT else value) for name, value in settings.application
        )
        former = (settings.hub_host, settings.hub_port)
        joining.follow(settings._replace(hub_host=host, hub_port=port, before=former, application=application))
        path = self._folder / component_settings.FILE
        try:
            text = config_env.replace(
                files.read_text(path), {component_settings.ENDPOINT: there, ENDPOINT_BEFORE: before}
            )
            files.write(path, text.encode(), owner=self._owner)
        except (OSError, InvalidInput, StateError) as error:
            self._log.error("config.env does not say where the hub is now: %s", error)
            return False
        return True
