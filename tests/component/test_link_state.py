"""Is the hub there? Decided from counters and an injected clock."""

from __future__ import annotations

import itertools

import pytest

from vpn.lib.component.link_state import (
    DATAGRAM,
    EAGER_FOR,
    ECHO,
    RENEW_EVERY,
    RENEW_SELDOM,
    RESOLVE_AFTER,
    SESSION_LIFE,
    LinkState,
    Pace,
)
from vpn.lib.wireguard.keys import PublicKey
from vpn.lib.wireguard.types import ObservedPeer

PACES = pytest.mark.parametrize("pace", [DATAGRAM, ECHO])


def peer(received: int) -> ObservedPeer:
    """The hub as wg0 shows it."""
    return ObservedPeer(PublicKey(bytes([9, *range(1, 32)])), None, frozenset(), None, 25, 1.0, received, 0)


@PACES
def test_a_hub_that_talks_is_left_in_peace(pace: Pace) -> None:
    state = LinkState(0.0, pace)
    for second in range(300):
        advice = state.look(peer(100 + second), float(second), 10.0)
        assert (advice.ask, advice.renew, advice.resolve, advice.up) == (False, False, False, True)


@PACES
def test_a_hub_that_has_not_answered_yet_is_asked_at_once_and_then_now_and_again(pace: Pace) -> None:
    state = LinkState(0.0, pace)
    asked = [second / 10 for second in range(200) if state.look(None, second / 10, None).ask]
    assert asked[0] == 0.0
    assert all(later - earlier >= pace.ask_every - 0.01 for earlier, later in itertools.pairwise(asked))
    assert len(asked) >= 20 / (pace.ask_every + 0.2)


@PACES
def test_a_hub_that_falls_silent_is_asked_then_looked_up_again(pace: Pace) -> None:
    state = LinkState(0.0, pace)
    state.look(peer(100), 0.0, 5.0)
    # The session is young, so it still counts as up; the counter alone tells.
    advices = {tick / 2: state.look(peer(100), tick / 2, 5.0 + tick / 2) for tick in range(1, 240)}
    assert min(second for second, advice in advices.items() if advice.ask) == pace.quiet
    assert min(second for second, advice in advices.items() if advice.resolve) == pace.quiet + RESOLVE_AFTER
    assert all(advice.up for advice in advices.values())


@PACES
def test_a_hub_that_does_not_answer_when_asked_is_asked_for_a_new_session(pace: Pace) -> None:
    state = LinkState(0.0, pace)
    state.look(peer(100), 0.0, 5.0)
    advices = {tick / 2: state.look(peer(100), tick / 2, 5.0) for tick in range(1, 400)}
    renewed = [second for second, advice in advices.items() if advice.renew]
    asked = [second for second, advice in advices.items() if advice.ask]
    assert renewed[0] == pace.renew_after
    assert len([second for second in asked if second < renewed[0]]) >= 2
    assert set(renewed) <= set(asked), "a new session needs a packet to ask for it"
    pauses = [later - earlier for earlier, later in itertools.pairwise(renewed) if earlier >= EAGER_FOR]
    assert set(pauses) == {RENEW_SELDOM}
    assert all(later - earlier >= RENEW_EVERY for earlier, later in itertools.pairwise(renewed))


def test_a_session_is_given_up_only_after_two_questions_without_an_answer() -> None:
    state = LinkState(0.0, ECHO)
    state.look(peer(100), 0.0, 5.0)
    # Looks come late: however long the silence was, the hub has been asked once.
    assert state.look(peer(100), 100.0, 5.0).ask
    assert not state.look(peer(100), 100.1, 5.0).renew
    assert not state.look(peer(200), 100.6, 5.0).renew
    assert not state.look(peer(200), 101.0, 5.0).ask


@PACES
def test_one_received_byte_is_a_sign_of_life(pace: Pace) -> None:
    state = LinkState(0.0, pace)
    state.look(peer(100), 0.0, 5.0)
    assert state.look(peer(100), pace.quiet, 5.0).ask
    heard = pace.quiet + pace.ask_every
    assert not state.look(peer(101), heard, 5.0).ask
    assert not state.look(peer(101), heard + pace.quiet - 0.1, 5.0).ask


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
    assert state.look(peer(0), DATAGRAM.quiet, 5.0).ask
    assert not state.look(peer(1), DATAGRAM.quiet + DATAGRAM.ask_every, 5.0).ask


@PACES
def test_looks_are_frequent_enough_to_ask_in_time_and_rare_while_all_is_well(pace: Pace) -> None:
    state = LinkState(0.0, pace)
    state.look(peer(100), 0.0, 5.0)
    assert state.pause(0.0) == 1.0
    assert state.pause(pace.quiet) == pace.look_every
