"""Which peers `list` shows, and in which order."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.hub.peers import key, node
from vpn.bin import listings
from vpn.lib.hub import listing, selecting
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.selecting import Selection, choose
from vpn.lib.registry.peer import PeerName, PeerType, Standing
from vpn.lib.wireguard.types import Endpoint, ObservedPeer

if TYPE_CHECKING:
    from vpn.lib.hub.listing import View
    from vpn.lib.hub.service import Hub

NOW = 10_000_000.0


@pytest.fixture
def views(hub: Hub) -> list[View]:
    """One in each state; node4 was heard of 5 s ago, node3 2 h ago, node7 never."""
    names = [node(number) for number in range(1, 8)]
    hub.genconf_all(names, {node(number): key(number) for number in (3, 4, 5, 6, 7)}, {node(2): Terms(valid=3600.0)})
    by_name = {item.peer.name: item._replace(now=NOW) for item in listing.view(hub)}
    invitation = by_name[node(2)].invitation
    assert invitation is not None
    by_name[node(2)] = by_name[node(2)]._replace(invitation=invitation._replace(expires=NOW + 1))
    for number, standing in ((5, Standing.DISABLED), (6, Standing.EXPIRED)):
        peer = by_name[node(number)].peer
        by_name[node(number)] = by_name[node(number)]._replace(peer=peer._replace(standing=standing), observed=None)
    observed = {
        3: ("192.0.2.10", 9, NOW - 7200, 500, 1, "0.9.0"),
        4: ("192.0.2.9", 9, NOW - 5, 10, 900, "0.10.0"),
        7: (None, 0, None, 0, 0, None),
    }
    for number, (address, port, handshake, received, sent, version) in observed.items():
        endpoint = None if address is None else Endpoint(ip_address(address), port)
        seen = ObservedPeer(key(number), None, frozenset(), endpoint, 0, handshake, received, sent)
        item = by_name[node(number)]
        by_name[node(number)] = item._replace(observed=seen, peer=item.peer._replace(version=version))
    return [by_name[name] for name in names]


def ids(views: list[View]) -> str:
    return " ".join(item.peer.name.id.removeprefix("node") for item in views)


def test_each_state_is_told(views: list[View]) -> None:
    assert [item.state for item in views] == [
        "registered", "invited", "added", "active", "disabled", "expired", "added",
    ]  # fmt: skip


def test_a_time_that_is_over_is_over_before_the_hub_has_noted_it(views: list[View]) -> None:
    item = views[3]
    for until, state in ((NOW + 1, "active"), (NOW, "expired"), (NOW - 1, "expired")):
        assert item._replace(peer=item.peer._replace(until=until)).state == state
    invited = views[1]
    assert invited.invitation is not None
    assert invited._replace(invitation=invited.invitation._replace(expires=NOW)).state == "expired"
    assert invited._replace(invitation=invited.invitation._replace(expired=True)).state == "expired"


def test_nothing_asked_for_is_all_in_the_order_of_the_registry(views: list[View]) -> None:
    assert choose(views, Selection()) == views


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(types=["researcher"]), ""),
        (Selection(types=["management", "node"]), "1 2 3 4 5 6 7"),
        (Selection(states=["registered", "invited"]), "1 2"),
        (Selection(states=["active"]), "4"),
        # Who is kept out, or has no key yet, cannot be silent.
        (Selection(stale=5), "3 4 7"),
        (Selection(stale=6), "3 7"),
        (Selection(stale=7201), "7"),
        (Selection(states=["active"], stale=6), ""),
        (Selection(stale=1, sort="handshake"), "4 3 7"),
    ],
)
def test_what_is_asked_for(views: list[View], selection: Selection, expected: str) -> None:
    assert ids(choose(views, selection)) == expected


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("type", "1 2 3 4 5 6 7"),
        ("id", "1 2 3 4 5 6 7"),
        ("address", "1 2 3 4 5 6 7"),
        ("state", "2 1 3 7 4 5 6"),
        ("handshake", "4 3 1 2 5 6 7"),
        ("received", "3 4 7 1 2 5 6"),
        ("sent", "4 3 7 1 2 5 6"),
        ("endpoint", "4 3 1 2 5 6 7"),
        ("version", "3 4 1 2 5 6 7"),
    ],
)
def test_each_column_sorts(views: list[View], column: str, expected: str) -> None:
    assert ids(choose(choose(views, Selection(sort="type")), Selection(sort=column))) == expected


def test_addresses_sort_as_numbers_and_ids_whatever_their_case(hub: Hub) -> None:
    names = [PeerName(PeerType.NODE, f"{'B' if number % 2 else 'a'}{number}") for number in range(10)]
    hub.genconf_all(names)
    views = listing.view(hub)
    sorted_views = choose(views[::-1], Selection(sort="address"))
    assert [int(item.peer.address) for item in sorted_views] == sorted(int(item.peer.address) for item in views)
    assert str(sorted_views[-1].peer.address) == "10.221.0.11"
    assert [item.peer.name.id for item in choose(views, Selection(sort="id"))] == [
        *(f"a{number}" for number in range(0, 10, 2)),
        *(f"B{number}" for number in range(1, 10, 2)),
    ]


def test_the_command_knows_the_same_states_and_columns() -> None:
    assert listings.STATES == selecting.STATES
    assert listings.COLUMNS == tuple(selecting.ORDERS) == tuple(name.lower() for name in listing.HEAD)


def test_states_are_in_colour_where_colours_are_asked_for(views: list[View]) -> None:
    plain, coloured = listing.as_table(views), listing.as_table(views, colour=True)
    assert "\x1b" not in plain
    assert coloured.count("\x1b[0m") == len(views)
    for code in set(listing.COLOURS.values()):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured.replace("\x1b[0m", "") == plain
