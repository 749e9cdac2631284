"""From what is wanted and what is observed to the operations between them. Pure.

``plan(wanted, observed)`` names only differences; once they are applied, the next plan is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vpn.lib.wireguard.keys import PrivateKey, PublicKey
    from vpn.lib.wireguard.types import IPNetwork, ObservedDevice, ObservedPeer, WantedDevice, WantedPeer


class Plan(NamedTuple):
    """Operations, to be applied in this order; None and empty mean nothing to do.

    ``update`` holds peers that are there with other settings, or may be: a device brings each to
    exactly the wanted state whether it held it before or not. ``add`` holds peers that are not there.
    """

    private_key: PrivateKey | None = None
    listen_port: int | None = None
    remove: tuple[PublicKey, ...] = ()
    update: tuple[WantedPeer, ...] = ()
    add: tuple[WantedPeer, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return self == Plan()


def plan(wanted: WantedDevice, observed: ObservedDevice) -> Plan:
    """What makes ``observed`` into ``wanted``.

    Another private key means that every session is void: then all peers are removed before it and added
    after it. A peer that is set anew keeps the endpoint that the device has learnt.
    """
    listen_port = wanted.listen_port if wanted.listen_port not in (0, observed.listen_port) else None
    if observed.public_key != wanted.private_key.public_key():
        return Plan(wanted.private_key, listen_port, tuple(observed.peers), (), _anew(wanted.peers, observed))
    disputed = _disputed(observed)
    return Plan(
        listen_port=listen_port,
        remove=tuple(key for key in observed.peers if key not in wanted.peers),
        update=_anew(
            {
                key: peer
                for key, peer in wanted.peers.items()
                if key in observed.peers
                and (_differs(peer, observed.peers[key]) or not disputed.isdisjoint(peer.allowed_ips))
            },
            observed,
        ),
        add=tuple(peer for key, peer in wanted.peers.items() if key not in observed.peers),
    )


def _anew(peers: Mapping[PublicKey, WantedPeer], observed: ObservedDevice) -> tuple[WantedPeer, ...]:
    """The peers, at the endpoints where the device knows them to be."""
    return tuple(
        peer
        if (seen := observed.peers.get(key)) is None or seen.endpoint is None
        else peer._replace(endpoint=seen.endpoint)
        for key, peer in peers.items()
    )


def _differs(wanted: WantedPeer, observed: ObservedPeer) -> bool:
    return (
        wanted.preshared_key != observed.preshared_key
        or wanted.allowed_ips != observed.allowed_ips
        or wanted.persistent_keepalive != observed.persistent_keepalive
        or (wanted.endpoint is not None and observed.endpoint is None)
    )


def _disputed(observed: ObservedDevice) -> set[IPNetwork]:
    """Networks shown at more than one peer.

    boringtun and gotatun show an address at both its old and its new holder, and which of the two is
    routed cannot be read; so whoever is wanted there is set anew.
    """
    seen: set[IPNetwork] = set()
    twice: set[IPNetwork] = set()
    for peer in observed.peers.values():
        for network in peer.allowed_ips:
            (twice if network in seen else seen).add(network)
    return twice
