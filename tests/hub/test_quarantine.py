"""The address of a forgotten peer: its own again, and for a time nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hub.memory_device import MemoryDevice
from tests.hub.peers import key, node
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.hub import settings as hub_settings
from vpn.lib.hub.service import Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86400.0


class Clock:
    """Unix time that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """It stands still."""
    return Clock()


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[Hub]:
    """A hub whose two addresses for nodes are taken, with a quarantine of 30 days."""
    environ = {
        "VPN_CONFIG_DIR": str(tmp_path),
        "VPN_SERVER_PUBLIC_ADDR": "hub.example.org",
        "VPN_NODE_IP_ASSIGN": "10.221.0.0/30",
        "VPN_ADDRESS_QUARANTINE": "30",
    }
    with Hub(hub_settings.load(environ), MemoryDevice(), clock=clock) as hub:
        hub.genconf_all([node(1), node(2)])
        yield hub


def quarantined(hub: Hub, until: str) -> None:
    """A third node is refused until then."""
    before = list(hub.peers()), hub.chain()
    saying = f"no address is left in .*: 10.221.0.2 is in quarantine until {until} UTC; wait, shorten VPN_ADDRESS_QUAR"
    with pytest.raises(Refused, match=saying):
        hub.genconf(node(3))
    assert (list(hub.peers()), hub.chain()) == before


def test_nobody_else_gets_it_before_its_time(small: Hub, clock: Clock) -> None:
    small.removeconf(node(1))
    clock.now += 30 * DAY - 1
    quarantined(small, "2001-10-09 01:46")
    clock.now += 1
    assert str(small.genconf(node(3)).peer.address) == "10.221.0.2"


def test_a_clock_that_is_set_back_neither_shortens_nor_extends_it(small: Hub, clock: Clock) -> None:
    small.removeconf(node(1))
    clock.now -= 1000 * DAY
    # A change under the wrong clock, and a release.
    small.add(node(2), key(2))
    small.removeconf(node(2))
    quarantined(small, "2001-10-09 01:46")
    clock.now += 1030 * DAY - 1
    quarantined(small, "2001-10-09 01:46")
    clock.now += 1
    assert str(small.genconf(node(3)).peer.address) == "10.221.0.2"
    assert str(small.genconf(node(4)).peer.address) == "10.221.0.1"


def test_a_clock_that_was_set_forward_once_gives_nothing_away_twice(small: Hub, clock: Clock) -> None:
    clock.now += 365 * DAY
    small.add(node(2), key(2))
    clock.now -= 365 * DAY
    small.removeconf(node(1))
    # Released in registry time, which is a year ahead.
    quarantined(small, "2002-10-09 01:46")


@pytest.mark.parametrize("value", ["-1", "1.5", "a", "3651", "99999", "\u0663", "1e3"])
def test_a_quarantine_that_is_no_number_of_days_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidInput, match=r"VPN_ADDRESS_QUARANTINE=.*: not a number of days from 0 to 3650"):
        hub_settings.load({"VPN_CONFIG_DIR": str(tmp_path), "VPN_ADDRESS_QUARANTINE": value})
