"""Lines of handshakes' ages, and what an address asks for."""

from __future__ import annotations

from ipaddress import IPv4Address
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, strategies as st

from tests.hub.peers import key, node
from vpn.lib.hub.listing import STATES, View
from vpn.lib.registry.peer import Peer
from vpn.lib.serving.choice import ORDERS, SIZE, TYPES, Choice, choose, parse
from vpn.lib.serving.history import HEIGHT, POINTS, TOP, WIDTH, History, points
from vpn.lib.wireguard.keys import PresharedKey
from vpn.lib.wireguard.types import ObservedPeer


def view(number: int, age: float | None, now: float = 10_000.0) -> View:
    """A node with a handshake so long ago."""
    peer = Peer(node(number), IPv4Address("10.221.0.2") + number, PresharedKey(bytes(32)), key(number), 0.0, 0.0)
    handshake = None if age is None else now - age
    return View(peer, ObservedPeer(key(number), None, frozenset(), None, 0, handshake, number, 0), now)


def test_a_line_ends_at_the_right_with_the_newest_and_rises_with_the_age() -> None:
    assert points([0, TOP]) == f"{WIDTH - 2},{HEIGHT - 1} {WIDTH},1"
    assert points([0] * POINTS) == f"0,{HEIGHT - 1} {WIDTH},{HEIGHT - 1}"


def test_what_is_straight_needs_no_points_and_what_turns_does() -> None:
    line = points([0, 45, 90, 135, 180, 0, 0]).split()
    assert len(line) == 4


@pytest.mark.parametrize("ages", [[], [5], [None, None], [None, 5]])
def test_less_than_two_ages_are_no_line(ages: list[int | None]) -> None:
    assert points(ages) == ""


@given(st.lists(st.none() | st.integers(0, 10**6), max_size=POINTS))
def test_a_line_stays_in_its_frame(ages: list[int | None]) -> None:
    for point in points(ages).split():
        x, y = map(int, point.split(","))
        assert 0 <= x <= WIDTH
        assert 1 <= y <= HEIGHT - 1


def test_a_history_is_bounded_and_forgets_who_has_gone() -> None:
    history = History()
    for look in range(10 * POINTS):
        history.add([view(1, look % 100), view(2, None)])
    assert history.line(key(1)).startswith("0,")
    assert history.line(key(1)).split()[-1].startswith(f"{WIDTH},")
    assert history.line(key(2)) == ""
    history.add([view(2, 5)])
    history.add([view(2, 6)])
    assert history.line(key(1)) == ""
    assert history.line(key(2)).startswith(f"{WIDTH - 2},")
    assert history.line(None) == ""


CHOICES = st.builds(
    Choice,
    st.sampled_from(["", *TYPES]),
    st.sampled_from(["", *STATES]),
    st.text(max_size=20).map(str.strip),
    st.sampled_from(ORDERS),
    st.booleans(),
    st.integers(1, 999_999),
)


@given(CHOICES)
def test_a_link_asks_for_what_it_was_made_of(choice: Choice) -> None:
    assert parse(dict(parse_qsl(choice.query.removeprefix("?"), errors="surrogatepass"))) == choice


@given(st.dictionaries(st.sampled_from(["type", "state", "q", "sort", "down", "page"]), st.text(max_size=300)))
def test_no_address_breaks_the_page(query: dict[str, str]) -> None:
    rows = choose([view(number, number) for number in range(SIZE + 1)], parse(query))
    assert len(rows.views) <= SIZE
    assert 1 <= rows.choice.page <= rows.pages


@given(CHOICES)
def test_all_pages_together_hold_each_component_once(choice: Choice) -> None:
    views = [view(number, number if number % 3 else None) for number in range(2 * SIZE + 50)]
    everybody = choice._replace(type="", state="", text="")
    shown = [shown for page in (1, 2, 3) for shown in choose(views, everybody.at(page)).views]
    assert sorted(item.peer.name.id for item in shown) == sorted(item.peer.name.id for item in views)
