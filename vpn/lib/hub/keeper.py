"""Keeping ``wg0`` as the registry says: filling it, repairing drift, remembering endpoints."""

from __future__ import annotations

import math
import socket
import time
from collections import deque
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from vpn.lib.errors import StateError
from vpn.lib.hub import life, state
from vpn.lib.hub.wanted import all_wanted
from vpn.lib.wireguard.plan import Plan, plan
from vpn.lib.wireguard.types import WantedDevice

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from ipaddress import IPv4Address

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.store import Registry
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.tunnel import Tunnel
    from vpn.lib.wireguard.types import Endpoint, ObservedDevice, WantedPeer

DISCARD = 9
"""The UDP port that first words go to (RFC 863): nothing answers there, and nothing has to."""

FIRST_WORDS = (100, 0.1)
"""How many at once, and how many seconds between two times, where the daemon has no limit of its own."""

HANDSHAKE_MARGIN = 0.9
"""The part of a daemon's limit of handshakes that first words may take: clients handshake too."""


class Keeper:
    """The registry's side of a running tunnel."""

    def __init__(self, settings: Settings, registry: Registry, tunnel: Tunnel, log: logging.Logger) -> None:
        self.settings = settings
        self._registry = registry
        self._tunnel = tunnel
        self._log = log
        self._endpoints: dict[PublicKey, Endpoint] = dict(registry.endpoints())
        # Kept until they are saved: the disk may be full.
        self._unsaved: dict[PublicKey, Endpoint] = {}
        self._unspoken: deque[IPv4Address] = deque()
        self._spoke_at = -math.inf
        self._version = -1
        # When the next peer or invitation expires, and registry time at the least, in Unix time.
        self._deadline: float | None = registry.deadline()
        self._latest = registry.now(0.0)
        self._wanted = WantedDevice(registry.private_key(), settings.port, {})

    @property
    def peer_count(self) -> int:
        """How many peers wg0 should hold."""
        return len(self._wanted.peers)

    def fill(self) -> None:
        """Give a fresh device its key, port and peers, and the known endpoints to find them at.

        The caller holds the command lock, from before the device can be found on.

        Queues a first word to each peer with a known endpoint, so that it does not have to notice by
        itself that its session is gone (15 s).
        """
        self._unspoken.clear()
        device = self._tunnel.device
        if self._tunnel.daemon is None:
            # The kernel's interface may have been there before, with its peers and their sessions.
            self._refresh()
            device.apply(self._with_endpoints(plan(self._wanted, device.read())))
            return
        self._check_registry()
        self._version = self._registry.version()
        peers: dict[PublicKey, WantedPeer] = {}
        private_key = self._registry.private_key()
        device.apply(Plan(private_key, self.settings.port))
        device.add(self._read_into(peers))
        self._wanted = WantedDevice(private_key, self.settings.port, peers)

    def reconcile(self) -> ObservedDevice:
        """Read wg0 and make it what the registry says; returns what was read.

        Drift is looked at a second time under the lock: a command may be just about to apply its change.
        """
        self.expire()
        observed = self._tunnel.device.read()
        self._refresh()
        if not plan(self._wanted, observed).empty:
            with state.command_lock(self.settings, state.DAEMON_PATIENCE):
                self._refresh()
                observed = self._tunnel.device.read()
                drift = plan(self._wanted, observed)
                if not drift.empty:
                    self._tunnel.device.apply(self._with_endpoints(drift))
                    self._log.warning(
                        "%s differed from the registry: removed %d peers, set %d, added %d",
                        self._tunnel.interface,
                        len(drift.remove),
                        len(drift.update),
                        len(drift.add),
                        extra={"event": "drift-repaired"},
                    )
        self._look_for(observed)
        self._remember(observed)
        return observed

    def expire(self) -> None:
        """End what is due by registry time. The caller does not hold the command lock; raises Busy."""
        now = max(time.time(), self._latest)
        if self._deadline is None or now < self._deadline:
            return
        for name in life.expire(self.settings, self._registry, now):
            self._log.info("%s has expired", name, extra={"event": "component-expired"})
        # Our own change, which the registry does not tell us of.
        self._version = -1
        self._deadline = self._registry.deadline()

    def remember(self) -> None:
        """Save the endpoints that the device knows now."""
        self._remember(self._tunnel.device.read())

    def _look_for(self, observed: ObservedDevice) -> None:
        """Tell the device where a peer was that it knows no endpoint of: one that was let in again.

        Else the peer would have to notice by itself that its session is gone.
        """
        if not self._lost(observed):
            return
        with state.command_lock(self.settings, state.DAEMON_PATIENCE):
            self._refresh()
            # Once more: it may have shown itself just now, and has a session that must live.
            lost = self._lost(self._tunnel.device.read())
            self._tunnel.device.apply(self._with_endpoints(Plan(update=lost)))

    def _lost(self, observed: ObservedDevice) -> tuple[WantedPeer, ...]:
        return tuple(
            self._wanted.peers[key]
            for key, peer in observed.peers.items()
            if peer.endpoint is None and key in self._endpoints and key in self._wanted.peers
        )

    def speak(self, now: float) -> bool:
        """Send the first words that are due at this moment, no more than the daemon takes handshakes.

        ``now`` is in seconds of the monotonic clock. True while there are more.
        """
        if not self._unspoken:
            return False
        count, seconds = FIRST_WORDS
        if self._tunnel.daemon is not None and self._tunnel.daemon.handshake_limit is not None:
            limit, window = self._tunnel.daemon.handshake_limit
            # The window's beginning is not known; twice is never within one.
            count, seconds = int(limit * HANDSHAKE_MARGIN), window + 0.1
        if now < self._spoke_at + seconds:
            return True
        self._spoke_at = now
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            for _ in range(count):
                if not self._unspoken:
                    break
                try:
                    sender.sendto(b"\0", (str(self._unspoken[0]), DISCARD))
                except BlockingIOError:
                    break
                except OSError:
                    # The interface is not there at this moment; the next fill queues them again.
                    self._unspoken.clear()
                    break
                self._unspoken.popleft()
        return bool(self._unspoken)

    @property
    def has_words(self) -> bool:
        """Whether first words wait to be spoken."""
        return bool(self._unspoken)

    def changed_elsewhere(self) -> bool:
        """Whether another process has changed the registry since the last look."""
        return self._registry.version() != self._version

    def _refresh(self) -> None:
        self._check_registry()
        if self.changed_elsewhere():
            self._version = self._registry.version()
            self._deadline, self._latest = self._registry.deadline(), self._registry.now(0.0)
            peers = {peer.public_key: peer for peer in all_wanted(self._registry)}
            self._wanted = WantedDevice(self._registry.private_key(), self.settings.port, peers)

    def _check_registry(self) -> None:
        if self._registry.replaced():
            raise StateError("the registry was replaced or deleted while the hub was running; start the hub again")

    def _read_into(self, peers: dict[PublicKey, WantedPeer]) -> Iterator[WantedPeer]:
        """Read the wanted peers, noting each, and give them out with their known endpoints as they are read."""
        for peer in all_wanted(self._registry):
            peers[peer.public_key] = peer
            if peer.public_key in self._endpoints:
                self._unspoken += _addresses(peer)
            yield self._with_endpoint(peer)

    def _with_endpoints(self, drift: Plan) -> Plan:
        """The plan with the known endpoints of the peers that it sets, to whom a first word is due as well."""
        update, add = tuple(map(self._with_endpoint, drift.update)), tuple(map(self._with_endpoint, drift.add))
        for peer in (*update, *add):
            if peer.endpoint is not None:
                self._unspoken += _addresses(peer)
        return drift._replace(update=update, add=add)

    def _with_endpoint(self, peer: WantedPeer) -> WantedPeer:
        endpoint = peer.endpoint or self._endpoints.get(peer.public_key)
        return peer if endpoint is None else peer._replace(endpoint=endpoint)

    def _remember(self, observed: ObservedDevice) -> None:
        """Save endpoints that are new. Only of peers that had a handshake: others may be forged or stale."""
        fresh = {
            key: peer.endpoint
            for key, peer in observed.peers.items()
            if peer.endpoint is not None
            and peer.latest_handshake is not None
            and self._endpoints.get(key) != peer.endpoint
            and key in self._wanted.peers
        }
        self._endpoints.update(fresh)
        self._unsaved.update(fresh)
        if self._unsaved:
            self._registry.save_endpoints(self._unsaved)
            self._unsaved.clear()


def _addresses(peer: WantedPeer) -> Iterator[IPv4Address]:
    return (network.network_address for network in peer.allowed_ips if isinstance(network, IPv4Network))
