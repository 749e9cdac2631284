"""The hub's daemon: brings ``wg0`` up, keeps it as the registry says, and replaces what dies or hangs."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vpn.lib.errors import Busy, DeviceError, DeviceMissing, Refused, StateError, VpnError, describe_os_error
from vpn.lib.hub import child, counters, projections, settings as hub_settings, state, status
from vpn.lib.hub.forwarding import StillForwarding
from vpn.lib.hub.gate import Gate
from vpn.lib.hub.keeper import Keeper
from vpn.lib.nft.loader import Nft
from vpn.lib.signals import SignalWaiter
from vpn.lib.wireguard.daemons import Implementation
from vpn.lib.wireguard.process import check_udp_port_free
from vpn.lib.wireguard.tunnel import Tunnel

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Mapping

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry

QUICKEST, SLOWEST = 0.2, 5.0
"""Seconds between two looks at wg0: a small part of the time, however many peers there are (``_pace``).

An endpoint that was not seen before the WireGuard daemon dies is not remembered, so looks are frequent."""

LINK_INTERVAL = 1.0
"""Seconds between two looks at the interface itself, and at the firewall's rules."""

SPEAKING = 0.1
"""Seconds between two looks at whether more first words are due."""

BACK_OFF = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each new try to bring wg0 up; the last stays."""

CHECK_EVERY = 600.0
"""Seconds between two looks at ``config_peers``, ``wg0.conf`` and ``policy.toml``, which others change."""

OPEN_LIMIT = 30.0
"""Seconds that the hub's start waits for a command that is changing the registry."""

PROJECT_AFTER, PROJECTED_A_SECOND = 1.0, 2000
"""Seconds between a change and wg0.conf, and a second more for so many peers: a batch of changes is written once."""


class HubDaemon:
    """One hub for one state directory. ``run`` returns the exit status."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], log: logging.Logger, log_format: str = "human"
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._log = log
        self._child = child.serving(environ, log, log_format)
        self._tunnel = self._new_tunnel()
        self._nft = Nft(environ)
        self._gate = Gate(settings, self._nft, log)
        # A moment later, so that the first peers are on their way before it takes its part of the processor.
        self._importing = threading.Timer(0.03, _import_netlink)
        self._importing.daemon = True
        self._background: deque[Iterator[None]] = deque()
        self._published: status.Status | None = None
        self._abandoned: list[Registry] = []
        # All in seconds of the monotonic clock; None for never.
        self._look_at = self._link_at = self._check_at = 0.0
        self._speak_at: float | None = None
        self._project_at: float | None = None
        self._retry_at: float | None = None
        self._failures = 0

    def run(self) -> int:
        """Run until SIGTERM or SIGINT.

        Raises VpnError for what a person has to put right before the hub can start.
        """
        _ = self._settings.endpoint  # without it, nothing can be handed to a component
        state.make_folders(self._settings)
        lock = state.daemon_lock(self._settings)
        if not lock.acquire():
            raise Refused(f"another hub runs on {self._settings.folder}; stop it before you start this one")
        # A WireGuard daemon or nft that hangs would hold up the stop until its time limit.
        hurry = self._kill
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        with counters.counting(self._settings, self._log), SignalWaiter(numbers, hurry) as signals:
            try:
                status.clear(self._settings)
                opened = self._open(signals)
                if opened is None:
                    return 0
                registry = opened
                registry.check()
                keeper = self._begin(registry)
                return self._serve(registry, keeper, signals)
            finally:
                self._child.stop()
                self._tunnel.stop()
                self._gate.close()
                status.clear(self._settings)
                lock.release()

    def _open(self, signals: SignalWaiter) -> Registry | None:
        """Open the registry; None when the hub is stopped while a command holds the lock. Raises Busy in the end."""
        deadline = time.monotonic() + OPEN_LIMIT
        while True:
            try:
                with state.command_lock(self._settings, state.DAEMON_PATIENCE):
                    return state.open_registry(self._settings, self._notice)
            except Busy:
                if any(number is not signal.SIGHUP for number in signals.wait(0)):
                    return None
                if time.monotonic() > deadline:
                    raise

    def _kill(self) -> None:
        self._tunnel.kill()
        self._nft.kill()

    @contextmanager
    def _lock_if_free(self) -> Iterator[None]:
        """Hold the command lock, unless a command has it for too long: one that is stopped must not keep wg0 down."""
        lock = state.command_lock(self._settings, state.DAEMON_PATIENCE)
        try:
            lock.wait()
        except Busy as error:
            self._log.warning("%s; going on without it", error)
        try:
            yield
        finally:
            lock.release()

    def _begin(self, registry: Registry) -> Keeper:
        """The first start: what fails here is for a person to put right."""
        # 200 ms of import, while the WireGuard daemon starts and takes its peers. It must not keep this
        # thread waiting for the usual 5 ms whenever the daemon has answered.
        sys.setswitchinterval(0.0005)
        self._importing.start()
        if not self._tunnel.outlived:
            check_udp_port_free(self._settings.port)
        keeper = Keeper(self._settings, registry, self._tunnel, self._log)
        self._check_at = time.monotonic()
        try:
            self._bring_up_at_first(keeper)
        except StillForwarding as error:
            # The hub waits for its rules, unhealthy, and is ready once it has them.
            self._postpone(error)
            return keeper
        self._log.info(
            "ready: %s on UDP port %d with %s, %d peers, public key %s",
            self._tunnel.interface,
            self._settings.port,
            self._tunnel.implementation.value,
            keeper.peer_count,
            registry.public_key(),
            extra={"event": "hub-ready"},
        )
        return keeper

    def _bring_up_at_first(self, keeper: Keeper) -> None:
        """Once more where the daemon ends at its start: gotatun 0.10.2 now and then panics there."""
        try:
            self._bring_up(keeper)
        except DeviceMissing as error:
            if self._tunnel.implementation is Implementation.KERNEL:
                raise
            self._log.warning("%s; starting it once more", error)
            self._bring_up(keeper)

    def _serve(self, registry: Registry, keeper: Keeper, signals: SignalWaiter) -> int:
        while True:
            pause = 0.0 if self._work(registry) else max(0.0, self._next_event() - time.monotonic())
            for number in signals.wait(pause, (self._tunnel.pidfd,)):
                if number is signal.SIGHUP:
                    keeper = self._reload(keeper, registry)
                    continue
                self._log.info("stopping: %s", number.name, extra={"event": "hub-stopping"})
                if self._retry_at is None:
                    with suppress(VpnError):
                        keeper.remember()  # the endpoints of the last moment
                return 0
            now = time.monotonic()
            if self._retry_at is not None:
                if now >= self._retry_at:
                    self._try_again(keeper)
                continue
            if now >= self._link_at and status.reload_asked(self._settings):
                keeper = self._reload(keeper, registry)
                continue
            if self._speak_at is not None and now >= self._speak_at:
                self._speak_at = now + SPEAKING if keeper.speak(now) else None
            try:
                self._look(keeper, now)
            except (Busy, StateError) as error:
                if registry.replaced():
                    registry, keeper = self._reopen(registry, keeper)
                    continue
                # Peers that are in stay in; what cannot be read or written now is tried again.
                self._log.error("%s", error, extra={"event": "registry-failed"})
                self._publish(str(error))
                self._look_at = now + SLOWEST
            except DeviceError as error:
                self._log.warning("%s; replacing it", error, extra={"event": "tunnel-replaced"})
                self._publish(str(error))
                self._tunnel.stop(patience=0)
                self._retry_at = now

    def _reopen(self, registry: Registry, keeper: Keeper) -> tuple[Registry, Keeper]:
        """Go over to the registry that was put in the place of this one, as from a copy.

        Raises StateError where there is none: whoever deleted it wants the hub to begin anew. A damaged one is
        named, and wg0 stays as it is until there is a good one.
        """
        if not state.registry_path(self._settings).exists():
            raise StateError("the registry was deleted while the hub was running; start the hub again to begin anew")
        self._look_at = time.monotonic() + QUICKEST
        try:
            with state.command_lock(self._settings, state.DAEMON_PATIENCE):
                fresh = state.open_registry(self._settings, self._notice)
            fresh.check()
        except VpnError as error:
            self._log.error("%s", error)
            self._publish(str(error))
            self._look_at = time.monotonic() + SLOWEST
            return registry, keeper
        self._log.warning(
            "another registry was put in the place of the hub's; going by it from now on",
            extra={"event": "registry-replaced"},
        )
        # Never closed: SQLite would delete the write-ahead log beside it, which is the other registry's now.
        self._abandoned.append(registry)
        self._check_at = time.monotonic()
        return fresh, Keeper(self._settings, fresh, self._tunnel, self._log)

    def _next_event(self) -> float:
        if self._retry_at is not None:
            return self._retry_at
        return min(self._look_at, self._link_at, self._speak_at or math.inf, self._project_at or math.inf)

    def _look(self, keeper: Keeper, now: float) -> None:
        """Look at the daemon, at wg0's peers and at the interface, each in its own time. Raises DeviceError."""
        if self._tunnel.daemon is not None and not self._tunnel.alive:
            raise DeviceError(f"{self._tunnel.implementation.value} has ended")
        if now >= self._look_at:
            if keeper.changed_elsewhere() and self._project_at is None:
                self._project_at = now + PROJECT_AFTER + keeper.peer_count / PROJECTED_A_SECOND
            keeper.reconcile()
            if keeper.has_words and self._speak_at is None:
                self._speak_at = now
            self._failures = 0
            self._publish(self._gate.problem)
            duration = time.monotonic() - now
            self._look_at = now + duration + _pace(duration)
        if now >= self._link_at:
            if not self._tunnel.configured(self._settings.plan.hub):
                raise DeviceError(f"{self._tunnel.interface} has lost its address, or is gone or down")
            self._gate.look()
            self._child.look(now)
            self._link_at = time.monotonic() + LINK_INTERVAL

    def _bring_up(self, keeper: Keeper) -> None:
        """Start the tunnel, fill it, and let it forward. Raises DeviceError, with nothing left behind."""
        try:
            self._gate.prepare()
            # A command that found the device before it has its key would hang boringtun with its peer.
            # Two threads that import parts of one package at the same time can wait for each other: Python ends that
            # with an error in one of them. So before netlink is used, the thread is done.
            if self._tunnel.daemon is None:
                self._importing.join()
            with suppress(Busy):
                keeper.expire()
            with self._lock_if_free():
                self._tunnel.start()
                keeper.fill()
            self._importing.join()
            self._gate.open()
            self._tunnel.configure(self._settings.plan.hub)
        except BaseException:
            self._tunnel.stop(patience=0)
            raise
        self._publish(self._gate.problem)
        self._look_at = time.monotonic() + QUICKEST
        self._link_at = time.monotonic() + LINK_INTERVAL
        self._speak_at = time.monotonic()
        self._retry_at = None

    def _try_again(self, keeper: Keeper) -> None:
        """Bring up anew what died or hung; a failure is tried again after a pause."""
        try:
            self._bring_up(keeper)
        except VpnError as error:
            self._postpone(error)
            return
        self._log.info("%s is back", self._tunnel.interface, extra={"event": "tunnel-back"})

    def _postpone(self, error: VpnError) -> None:
        """Try again after a pause, longer each time."""
        pause = BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
        self._failures += 1
        self._retry_at = time.monotonic() + pause
        self._publish(str(error))
        self._log.error("%s; trying again in %.1f s", error, pause, extra={"event": "tunnel-failed"})

    def _reload(self, keeper: Keeper, registry: Registry) -> Keeper:
        """SIGHUP: the settings and the policy again. Invalid ones change nothing."""
        try:
            fresh = hub_settings.load(self._environ)
            _ = fresh.endpoint
            if fresh.port != self._settings.port:
                check_udp_port_free(fresh.port)
        except VpnError as error:
            self._log.error("the settings stay as they were: %s", error, extra={"event": "settings-refused"})
            fresh = self._settings
        else:
            self._log.info(
                "read the settings again: %s",
                "unchanged" if fresh == self._settings else "changed",
                extra={"event": "settings-read"},
            )
        self._gate.reread(fresh)
        self._link_at = 0.0
        if fresh == self._settings:
            return keeper
        before, self._settings = self._settings, fresh
        self._child.restart()
        self._check_at = time.monotonic()
        if (fresh.wireguard, fresh.plan.hub) != (before.wireguard, before.plan.hub):
            self._tunnel.stop()
            self._tunnel = self._new_tunnel()
            self._retry_at = time.monotonic()
        self._look_at = time.monotonic()
        return Keeper(fresh, registry, self._tunnel, self._log)

    def _work(self, registry: Registry) -> bool:
        """Do a little of the background work; true while there is more."""
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + CHECK_EVERY
            self._gate.reread(self._settings)
            self._background.append(projections.repair_tree(self._settings, registry, self._log))
            self._project_at = time.monotonic()
        if self._project_at is not None and time.monotonic() >= self._project_at:
            self._project_at = None
            self._background.append(projections.write_wg_conf(self._settings, registry))
        if self._background:
            try:
                next(self._background[0])
            except StopIteration:
                self._background.popleft()
            except (VpnError, OSError) as error:
                self._background.popleft()
                self._log.warning("%s", describe_os_error(error) if isinstance(error, OSError) else error)
        return bool(self._background)

    def _new_tunnel(self) -> Tunnel:
        return Tunnel(self._settings.interface, Implementation(self._settings.wireguard), self._environ)

    def _publish(self, problem: str) -> None:
        fresh = status.Status(self._tunnel.implementation.value, problem)
        if fresh != self._published:
            with suppress(VpnError):
                status.save(self._settings, fresh)
                self._published = fresh

    def _notice(self, notice: state.Notice) -> None:
        (self._log.warning if notice.warning else self._log.info)("%s", notice.text)


def _pace(duration: float) -> float:
    """Seconds until the next look: a small part of the time, however many peers there are."""
    return min(max(QUICKEST, 20 * duration), SLOWEST)


def _import_netlink() -> None:
    with suppress(ImportError):  # the main thread meets it again, and says so
        import pyroute2  # noqa: F401
