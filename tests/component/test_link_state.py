"""Is the hub there? Decided from counters and an injected clock."""

from __future__ import annotations

import itertools

from vpn.lib.component.link_state import ASK_EVERY, QUIET, RESOLVE_AFTER, SESSION_LIFE, LinkState
from vpn.lib.wireguard.keys import PublicKey
from vpn.lib.wireguard.types import ObservedPeer


def peer(received: int) -> ObservedPeer:
    """The hub as wg0 shows it."""
    return ObservedPeer(PublicKey(bytes([9, *range(1, 32)])), None, frozenset(), None, 25, 1.0, received, 0)


def test_a_hub_that_talks_is_left_in_peace() -> None:
    state = LinkState(0.0)
    for second in range(300):
        advice = state.look(peer(100 + second), float(second), 10.0)
        assert (advice.ask, advice.resolve, advice.up) == (False, False, True)


def test_a_hub_that_has_not_answered_yet_is_asked_at_once_and_then_now_and_again() -> None:
    state = LinkState(0.0)
    asked = [second / 10 for second in range(200) if state.look(None, second / 10, None).ask]
    assert asked[0] == 0.0
    assert all(later - earlier >= ASK_EVERY for earlier, later in itertools.pairwise(asked))
    assert len(asked) >= 20 / (ASK_EVERY + 0.2)


def test_a_hub_that_falls_silent_is_asked_then_looked_up_again() -> None:
    state = LinkState(0.0)
    state.look(peer(100), 0.0, 5.0)
    # The session is young, so it still counts as up; the counter alone tells.
    advices = {second: state.look(peer(100), float(second), 5.0 + second) for second in range(1, 120)}
    assert min(second for second, advice in advices.items() if advice.ask) == QUIET
    assert min(second for second, advice in advices.items() if advice.resolve) == QUIET + RESOLVE_AFTER
    assert all(advice.up for advice in advices.values())


def test_one_received_byte_is_a_sign_of_life() -> None:
    state = LinkState(0.0)
    state.look(peer(100), 0.0, 5.0)
    assert state.look(peer(100), QUIET, 5.0).ask
    assert not state.look(peer(101), QUIET + ASK_EVERY, 5.0).ask
    assert not state.look(peer(101), 2 * QUIET, 5.0).ask


def test_an_old_handshake_is_down() -> None:
    state = LinkState(0.0)
    assert state.look(peer(1), 0.0, SESSION_LIFE - 0.1).up
    assert not state.look(peer(1), 0.1, SESSION_LIFE).up


def test_the_name_is_looked_up_no_more_often_than_it_should() -> None:
    state = LinkState(0.0)
    resolved = [second for second in range(200) if state.look(None, float(second), None).resolve]
    assert resolved[0] == RESOLVE_AFTER
    assert {later - earlier for earlier, later in itertools.pairwise(resolved)} == {RESOLVE_AFTER}


def test_counters_that_begin_anew_are_no_sign_of_life() -> None:
    state = LinkState(0.0)
    state.look(peer(5000), 0.0, 5.0)
    assert state.look(peer(0), QUIET, 5.0).ask
    assert not state.look(peer(1), QUIET + ASK_EVERY, 5.0).ask
