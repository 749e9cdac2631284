"""The daemons and their names."""

from __future__ import annotations

import pytest

from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.daemons import BORINGTUN, DAEMONS, GOTATUN, WIREGUARD_GO, Implementation, parse_implementation


@pytest.mark.parametrize("implementation", Implementation)
def test_an_implementation_is_chosen_by_its_name_in_any_case(implementation: Implementation) -> None:
    assert parse_implementation(implementation.value) is implementation
    assert parse_implementation(implementation.value.upper()) is implementation


@pytest.mark.parametrize("name", ["", " ", "wg", "boringtun-cli", "kernel ", "true", "x" * 5000])
def test_another_name_is_refused_with_the_ones_that_are_known(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_implementation(name)
    for implementation in Implementation:
        assert implementation.value in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_kernel_needs_no_daemon_and_every_other_has_its_own() -> None:
    assert {name: Implementation(name).daemon for name in DAEMONS} == DAEMONS
    assert Implementation.KERNEL.daemon is None
    assert Implementation.AUTO.daemon is None


def test_both_names_of_boringtun_are_known_the_newer_first() -> None:
    assert BORINGTUN.programs == ("boringtun-cli", "boringtun")


def test_every_daemon_stays_in_the_foreground() -> None:
    for daemon in (BORINGTUN, GOTATUN, WIREGUARD_GO):
        assert "-f" in daemon.arguments
