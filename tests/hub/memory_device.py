"""A WireGuard device in memory: stateful, with the ways in which a real one fails."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceMissing, DeviceRefused, DeviceTimeout
from vpn.lib.wireguard.plan import Plan
from vpn.lib.wireguard.types import ObservedDevice, ObservedPeer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.wireguard.keys import PrivateKey, PublicKey
    from vpn.lib.wireguard.types import WantedPeer


class Killed(BaseException):
    """Stands for the end of the process: no part of the project may catch it."""


class MemoryDevice:
    """Device that holds what it is given.

    ``missing``, ``hanging`` and ``refusing`` are how it answers from now on. ``keeps`` are peers that it
    says to have removed, and has not; with ``deaf`` it takes everything and does nothing. ``killed_at``
    counts down with each ``apply``; at zero the caller's process ends before the plan is carried out.
    """

    interface = "wg0"

    def __init__(self) -> None:
        self.missing = self.hanging = self.refusing = self.deaf = False
        self.keeps: set[PublicKey] = set()
        self.killed_at: int | None = None
        self.private_key: PrivateKey | None = None
        self.listen_port = 0
        self.peers: dict[PublicKey, ObservedPeer] = {}
        self.plans: list[Plan] = []

    def _answer(self) -> None:
        if self.missing:
            raise DeviceMissing("wg0 is not there; start the hub")
        if self.hanging:
            raise DeviceTimeout("wg0 has not answered for 3 s")
        if self.refusing:
            raise DeviceRefused("wg0 refused it: Invalid argument", errno.EINVAL)

    def read(self) -> ObservedDevice:
        """What it holds."""
        self._answer()
        public_key = None if self.private_key is None else self.private_key.public_key()
        return ObservedDevice(public_key, self.listen_port, dict(self.peers))

    def holds(self, public_key: PublicKey) -> bool:
        """Whether it has the peer."""
        self._answer()
        return public_key in self.peers

    def add(self, peers: Iterable[WantedPeer]) -> None:
        """Add peers, each as it is produced."""
        for peer in peers:
            self.apply(Plan(add=(peer,)))

    def apply(self, plan: Plan) -> None:
        """Carry the plan out."""
        if self.killed_at is not None:
            self.killed_at -= 1
            if self.killed_at < 0:
                self.killed_at = None
                raise Killed
        if plan.empty:
            return
        self._answer()
        self.plans.append(plan)
        if self.deaf:
            return
        self.private_key = plan.private_key or self.private_key
        self.listen_port = self.listen_port if plan.listen_port is None else plan.listen_port
        for key in plan.remove:
            if key not in self.keeps:
                self.peers.pop(key, None)
        for peer in (*plan.update, *plan.add):
            self._set(peer)

    def _set(self, peer: WantedPeer) -> None:
        # Cryptokey routing: an address belongs to the peer that got it last.
        for key, other in self.peers.items():
            self.peers[key] = other._replace(allowed_ips=other.allowed_ips - peer.allowed_ips)
        before = self.peers.get(peer.public_key)
        self.peers[peer.public_key] = ObservedPeer(
            peer.public_key,
            peer.preshared_key,
            peer.allowed_ips,
            peer.endpoint or (before.endpoint if before else None),
            peer.persistent_keepalive,
            before.latest_handshake if before else None,
            before.received if before else 0,
            before.sent if before else 0,
        )
