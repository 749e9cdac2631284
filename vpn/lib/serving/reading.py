"""What is shown of the hub, read afresh: the registry, wg0, the audit log, the firewall's counters, and the daemon's.

A reading is kept for a second, and for longer where it takes long, so that no number of readers loads the hub. It is
made in the caller's thread, while others who ask wait for it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from anyio import CapacityLimiter, to_thread

from vpn.lib.errors import DeviceError, VpnError
from vpn.lib.hub import counters, matrix, state, status
from vpn.lib.hub.listing import View
from vpn.lib.registry.peer import PeerType
from vpn.lib.registry.sqlite import SqliteRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Address

    from vpn.lib.hub.counters import Counters
    from vpn.lib.hub.matrix import Matrix
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.audit import Record
    from vpn.lib.registry.peer import Invitation, Peer, PeerName
    from vpn.lib.registry.store import Registry
    from vpn.lib.wireguard.types import ObservedDevice

_Value = TypeVar("_Value")

KEPT, SHARE = 1.0, 10.0
"""Seconds that a reading is kept, and how many times as long as it took: reading takes at most an 11th of the time."""


class Peers(NamedTuple):
    """The registry's peers, with what wg0 knows of them.

    ``observed`` is false where wg0 could not be read: then nothing is known of handshakes and traffic. ``problem`` is
    why the hub is not healthy, empty when it is.
    """

    at: float
    views: Sequence[View]
    observed: bool
    problem: str

    def by_state(self) -> Counter[tuple[PeerType, str]]:
        """How many there are of each type and state."""
        return Counter((view.peer.name.type, view.state) for view in self.views)


class Addresses(NamedTuple):
    """Of a type's range: how many addresses can be handed out at all, how many still can, and how many wait."""

    capacity: int
    left: int
    quarantined: int


class Log(NamedTuple):
    """Of the audit log: how long it is, and the latest backup in it."""

    entries: int
    backup: Record | None

    @property
    def since_backup(self) -> int:
        """Changes that are in no backup."""
        return self.entries - (0 if self.backup is None else self.backup.number)


class Cached(Generic[_Value]):
    """A function's value, kept for a while. What it raises is kept as well."""

    def __init__(self, read: Callable[[], _Value]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._until = 0.0
        self._value: _Value | None = None
        self._error: VpnError | None = None

    def __call__(self) -> _Value:
        """The value. Raises VpnError as the function does."""
        with self._lock:
            started = time.monotonic()
            if started >= self._until:
                self._value = self._error = None
                try:
                    self._value = self._read()
                except VpnError as error:
                    self._error = error
                ended = time.monotonic()
                self._until = ended + max(KEPT, SHARE * (ended - started))
            if self._error is not None:
                raise self._error
            assert self._value is not None
            return self._value


class Threads:
    """A few threads for one application's work: however many ask, those of the other applications stay free."""

    def __init__(self, count: int = 4) -> None:
        self._count = count
        self._limiter: CapacityLimiter | None = None

    async def run(self, work: Callable[[], _Value]) -> _Value:
        """What the work returns, or raises."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._count)
        return await to_thread.run_sync(work, limiter=self._limiter)


class Reader:
    """The readings of one hub."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self._environ = environ
        self.peers = Cached(self._peers)
        self.addresses = Cached(self._addresses)
        self.log = Cached(self._log)
        self.matrix = Cached(self._matrix)

    def counters(self) -> Counters | None:
        """What the daemon has published."""
        return counters.load(self.settings)

    def implementation(self) -> str:
        """What carries wg0; empty where no hub runs."""
        published = status.load(self.settings)
        return "" if published is None else published.implementation

    def records(self, count: int, before: int | None) -> list[Record]:
        """A part of the audit log, newest first. Raises StateError."""
        registry = self._open()
        try:
            return registry.latest(count, before)
        finally:
            registry.close()

    def _open(self) -> Registry:
        return SqliteRegistry(state.registry_path(self.settings))

    def _registered(self) -> tuple[list[Peer], dict[PeerName, Invitation]]:
        registry = self._open()
        try:
            return list(registry.peers()), {invitation.name: invitation for invitation in registry.invitations()}
        finally:
            registry.close()

    def _peers(self) -> Peers:
        registered, invited = self._registered()
        device: ObservedDevice | None = None
        with suppress(DeviceError):  # the hub's health says why
            device = status.open_device(self.settings).read()
        now = time.time()
        known = {} if device is None else device.peers
        views = [
            View(peer, None if peer.public_key is None else known.get(peer.public_key), now, invited.get(peer.name))
            for peer in registered
        ]
        return Peers(now, views, device is not None, status.unhealthy(self.settings, device) or "")

    def _addresses(self) -> Mapping[PeerType, Addresses]:
        plan, waiting = self.settings.plan, self._waiting()
        names = ((view.peer.name.type, view.peer.address) for view in self.peers().views)
        taken = Counter(peer_type for peer_type, address in names if plan.usable(peer_type, address))
        found = {}
        for peer_type in PeerType:
            capacity = plan.capacity(peer_type)
            quarantined = sum(plan.usable(peer_type, address) for address in waiting)
            found[peer_type] = Addresses(capacity, capacity - taken[peer_type] - quarantined, quarantined)
        return found

    def _waiting(self) -> list[IPv4Address]:
        """The addresses in quarantine."""
        if not self.settings.quarantine:
            return []
        registry = self._open()
        try:
            return registry.released(time.time() - self.settings.quarantine)
        finally:
            registry.close()

    def _log(self) -> Log:
        registry = self._open()
        try:
            backup = registry.latest(1, command="backup")
            return Log(registry.chain().entries, backup[0] if backup else None)
        finally:
            registry.close()

    def _matrix(self) -> Matrix:
        return matrix.count(matrix.load(self.settings), self._environ)
