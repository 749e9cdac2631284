"""Sums of traffic that only grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.hub.peers import key, node
from vpn.lib.hub.listing import View
from vpn.lib.registry.peer import Peer, PeerType
from vpn.lib.serving.traffic import Bytes, Traffic
from vpn.lib.wireguard.keys import PresharedKey
from vpn.lib.wireguard.types import ObservedPeer

if TYPE_CHECKING:
    from collections.abc import Mapping


def views(counts: Mapping[int, tuple[int, int]]) -> list[View]:
    """Nodes with what wg0 counted for them."""
    from ipaddress import IPv4Address

    return [
        View(
            Peer(node(number), IPv4Address("10.221.0.2") + number, PresharedKey(bytes(32)), key(number), 0.0, 0.0),
            ObservedPeer(key(number), None, frozenset(), None, 0, None, received, sent),
            0.0,
        )
        for number, (received, sent) in counts.items()
    ]


def test_a_peer_that_starts_from_zero_again_adds_what_it_has_since() -> None:
    traffic = Traffic()
    traffic.add(views({1: (100, 10), 2: (5, 5)}))
    traffic.add(views({1: (130, 10), 2: (5, 6)}))
    assert traffic.sums[PeerType.NODE] == Bytes(135, 16)
    # The daemon was replaced: both count from zero. One is slower than the other.
    traffic.add(views({1: (20, 1), 2: (0, 0)}))
    assert traffic.sums[PeerType.NODE] == Bytes(155, 17)
    # One was removed, and comes back.
    traffic.add(views({2: (1, 1)}))
    traffic.add(views({1: (3, 0), 2: (1, 1)}))
    assert traffic.sums[PeerType.NODE] == Bytes(159, 18)
    assert traffic.sums[PeerType.RESEARCHER] == Bytes()


COUNTS = st.dictionaries(st.integers(0, 3), st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=4)


@given(st.lists(COUNTS, max_size=12))
def test_no_sum_ever_falls_whatever_peers_do(looks: list[dict[int, tuple[int, int]]]) -> None:
    traffic, before = Traffic(), Bytes()
    for look in looks:
        traffic.add(views(look))
        now = traffic.sums[PeerType.NODE]
        assert now.received >= before.received
        assert now.sent >= before.sent
        before = now
