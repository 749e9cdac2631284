"""The component's daemon: waits for its config.env, joins, runs the application, keeps the tunnel."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.component import identity, settings as component_settings
from vpn.lib.component.application import Application, reap
from vpn.lib.component.joining import Joining
from vpn.lib.component.link_state import LinkState
from vpn.lib.component.membership import Membership, Step
from vpn.lib.component.shield import Shield
from vpn.lib.errors import DeviceError, InvalidInput, Refused, StateError
from vpn.lib.signals import SignalWaiter

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vpn.lib.component.settings import Settings
    from vpn.lib.wireguard.types import ObservedPeer

INTERVAL = 1.0
"""Seconds between two looks at config.env while there is none."""

EAGER_INTERVAL, EAGER_FOR = 0.1, 10.0
"""Seconds between two looks just after wg0 came up, and how long: the application waits for the handshake."""

LINK_INTERVAL = 5.0
"""Seconds between two looks at the interface itself."""

BACK_OFF = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STOP_PATIENCE = 2.0
"""Seconds that the application has to end after SIGTERM: a container is killed after its own limit."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class ComponentDaemon:
    """One component. ``command`` is the application, empty for none. ``run`` returns the exit status."""

    def __init__(self, folder: Path, command: Sequence[str], environ: Mapping[str, str], log: logging.Logger) -> None:
        self._folder = folder
        self._command = command
        self._environ = environ
        self._log = log
        self._joining: Joining | None = None
        self._application: Application | None = None
        # When the application was told to end: for good, or to be started anew with other settings.
        self._stopping_since: float | None = None
        self._replacing_since: float | None = None
        self._state = LinkState(0.0)
        self._shield = Shield(environ, component_settings.INTERFACE, log)
        # Both in seconds of the monotonic clock.
        self._link_at = self._eager_until = 0.0
        self._settings: Settings | None = None
        self._stamp: tuple[int, ...] | None = None
        self._said = ""
        self._failures = self._replaced = 0
        self._up = False

    def run(self) -> int:
        """Run until the application ends, or until SIGTERM or SIGINT.

        Raises VpnError for what a person has to put right.
        """
        owner = files.owner_of_state(self._environ, self._folder)
        self._member = Membership(self._folder, owner, identity.load_or_make(self._folder, owner), self._log)
        lock = files.Lock(self._folder / identity.WIREGUARD_FOLDER / "daemon.lock", owner=owner)
        if not lock.acquire():
            raise Refused(f"another component runs on {self._folder}; stop it before you start this one")
        with SignalWaiter((*FORWARDED, signal.SIGCHLD), self._hurry) as signals:
            try:
                return self._loop(signals)
            finally:
                if self._application is not None:
                    self._application.kill()
                if self._joining is not None:
                    self._joining.tunnel.stop()
                self._shield.remove()
                lock.release()

    def _hurry(self) -> None:
        # A WireGuard daemon that hangs would hold up the stop until its time limit.
        if self._joining is not None and self._application is None:
            self._joining.tunnel.kill()
            self._shield.kill()

    def _loop(self, signals: SignalWaiter) -> int:
        look_at = 0.0
        while True:
            for number in signals.wait(
                max(0.0, min(look_at, self._deadline()) - time.monotonic()), self._descriptors()
            ):
                self._receive(number)
            reap(self._known_children())
            status = self._finished()
            if status is not None:
                return status
            tunnel_died = self._joining is not None and not self._joining.tunnel.alive
            if time.monotonic() >= look_at or tunnel_died:
                pause = self._look()
                look_at = time.monotonic() + pause

    def _receive(self, number: signal.Signals) -> None:
        """Signals are the application's; without one, SIGTERM and SIGINT end the component."""
        if number is signal.SIGCHLD:
            return
        if number in (signal.SIGTERM, signal.SIGINT) and self._stopping_since is None:
            self._log.info("stopping: %s", number.name, extra={"event": "component-stopping"})
            self._stopping_since = time.monotonic()
        if self._application is not None:
            self._application.signal(number)

    def _finished(self) -> int | None:
        """The exit status, once it is known."""
        if self._application is not None:
            status = self._application.status
            if status is None and time.monotonic() >= self._deadline():
                self._log.warning(
                    "the application did not end within %.0f s of SIGTERM; killing it",
                    STOP_PATIENCE,
                    extra={"event": "application-killed"},
                )
                self._application.kill()
                status = self._application.status
            if status is not None:
                self._log.info("the application has ended with status %d", status, extra={"event": "application-ended"})
                self._application.close()
            if status is None or self._replacing_since is None:
                return status
            self._application = self._replacing_since = None
        return None if self._stopping_since is None else 0

    def _look(self) -> float:
        """One look at config.env and at wg0; seconds until the next."""
        self._follow_settings()
        if self._joining is None:
            return INTERVAL
        try:
            now = time.monotonic()
            peer = self._joining.look()
            if self._member.enrolling:
                return self._enrol(self._joining, peer, now)
            if now >= self._link_at:
                self._joining.check_link()
                self._link_at = now + LINK_INTERVAL
                self._protect(self._joining)
            elif self._shield.problem:
                self._protect(self._joining)
            age = self._joining.age(peer)
            advice = self._state.look(peer, now, age)
            if advice.renew or not advice.up:
                self._joining.try_elsewhere(now)
            if advice.renew:
                self._joining.renew()
            if advice.ask:
                self._joining.ask()
            if advice.resolve or (advice.ask and not self._joining.resolved):
                fresh = self._joining.resolve_again()
                if fresh is not None:
                    where = self._joining.settings.hub_host
                    self._log.info("the hub %s is at %s now", where, fresh, extra={"event": "hub-moved"})
            if self._member.look(self._joining, peer, now, advice):
                self._stamp = self._read_stamp()
            self._settings = self._joining.settings
            self._failures = 0
            if advice.up:
                self._replaced = 0
        except DeviceError as error:
            self._log.warning("%s; replacing it", error, extra={"event": "tunnel-replaced"})
            self._joining.tunnel.stop(patience=0)
            # One that fails again and again is not replaced ten times a second.
            pause = BACK_OFF[min(self._replaced, len(BACK_OFF) - 1)]
            self._replaced += 1
            return max(self._restart(), pause)
        self._announce(advice.up)
        ready = advice.up and not self._shield.problem
        if ready and self._command and self._application is None and self._stopping_since is None:
            self._start_application(self._joining.settings)
        return self._state.pause(now) if advice.up or now >= self._eager_until else EAGER_INTERVAL

    def _enrol(self, joining: Joining, peer: ObservedPeer | None, now: float) -> float:
        """One look of a component that has an invitation; seconds until the next. Raises DeviceError."""
        step = self._member.enrol(joining, peer, now)
        assert self._settings is not None
        if step is Step.CHANGE:
            self._join(self._settings)
        elif step is Step.DONE:
            agreed = self._member.preshared_key or self._settings.preshared_key
            self._stamp = None
            # Its own settings, should config.env not have been written.
            self._follow_settings(self._settings._replace(preshared_key=agreed, invitation=None))
        return EAGER_INTERVAL

    def _restart(self) -> float:
        assert self._joining is not None
        try:
            # Before there is a tunnel: what is meant for the VPN must not take another way meanwhile.
            self._shield.ensure(self._joining.settings.allowed_ips, 0)
            self._joining.start()
            self._protect(self._joining)
            now = time.monotonic()
            self._state = LinkState(now, self._joining.pace)
            self._link_at, self._eager_until = now + LINK_INTERVAL, now + EAGER_FOR
            self._member.began(now)
            return EAGER_INTERVAL
        except DeviceError as error:
            pause = BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
            self._failures += 1
            self._log.error("%s; trying again in %.1f s", error, pause, extra={"event": "tunnel-failed"})
            return pause

    def _protect(self, joining: Joining) -> None:
        self._shield.ensure(joining.settings.allowed_ips, joining.tunnel.device.read().listen_port)

    def _read_stamp(self) -> tuple[int, ...] | None:
        try:
            status = (self._folder / component_settings.FILE).lstat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _follow_settings(self, agreed: Settings | None = None) -> None:
        """Read config.env when it has changed. A bad one is named, and the one before it stays in force.

        ``agreed`` takes the place of one whose invitation has been used.
        """
        path = self._folder / component_settings.FILE
        stamp = self._read_stamp()
        if stamp == self._stamp and (stamp is not None or self._said):
            return
        self._stamp = stamp
        with suppress(OSError):
            if files.tighten(path, files.FILE_MODE):
                self._log.warning("%s holds a secret and was open to other users; its mode is 0600 now", path)
        try:
            fresh = component_settings.load(self._folder, self._environ)
        except FileNotFoundError:
            self._say(f"waiting for {path}: copy the config.env there that `genconf` wrote on the hub")
            return
        except (InvalidInput, StateError) as error:
            self._say(f"waiting for a good config.env: {error}")
            return
        self._said = ""
        if agreed is not None and fresh.invitation is not None:
            fresh = agreed
        if self._settings is not None:
            if fresh == self._settings:
                return
            if agreed is None:
                self._log.info("config.env has changed; joining anew", extra={"event": "settings-changed"})
            if self._application is not None and fresh.lasting != self._settings.lasting:
                self._log.info("starting the application anew, since its environment has changed")
                self._application.signal(signal.SIGTERM)
                self._replacing_since = time.monotonic()
        try:
            self._member.settled_on(fresh, time.monotonic())
        except StateError as error:
            self._say(str(error))
            return
        self._settings = fresh
        self._up = False
        self._failures = 0
        place = (fresh.hub_host, fresh.hub_port, fresh.address.ip)
        self._log.info("joining the hub at %s:%d as %s", *place, extra={"event": "joining"})
        if fresh.invitation is not None:
            self._log.info("by invitation, with a key of its own")
        elif agreed is None:
            public = self._member.key.public_key()
            self._log.info("public key %s; on the hub: configure_peer.py add TYPE ID %s", public, public)
        self._join(fresh)

    def _join(self, settings: Settings) -> None:
        """Begin anew with a tunnel for these settings."""
        if self._joining is not None:
            self._joining.tunnel.stop()
        guise, key = self._member.guise(settings)
        self._joining = Joining(guise, key, component_settings.INTERFACE, self._environ)
        self._restart()

    def _announce(self, up: bool) -> None:
        if up and not self._up:
            self._log.info("joined: the hub answers", extra={"event": "joined"})
        elif self._up and not up:
            self._log.warning("the hub does not answer any more; trying on", extra={"event": "hub-lost"})
        self._up = up

    def _start_application(self, settings: Settings) -> None:
        self._application = Application(self._command, dict(settings.application), self._environ)
        self._log.info("started the application %s", self._command[0], extra={"event": "application-started"})

    def _say(self, line: str) -> None:
        if line != self._said:
            self._log.info("%s", line, extra={"event": "config-awaited"})
        self._said = line

    def _deadline(self) -> float:
        since = [moment for moment in (self._stopping_since, self._replacing_since) if moment is not None]
        return min(since) + STOP_PATIENCE if since else float("inf")

    def _descriptors(self) -> list[int | None]:
        tunnel = None if self._joining is None else self._joining.tunnel.pidfd
        return [tunnel, None if self._application is None else self._application.pidfd]

    def _known_children(self) -> set[int]:
        tunnel = None if self._joining is None else self._joining.tunnel.pid
        application = None if self._application is None else self._application.pid
        return {pid for pid in (tunnel, application) if pid is not None}
