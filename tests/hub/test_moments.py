"""Durations and dates as people write them."""

from __future__ import annotations

import math

import pytest

from vpn.lib.errors import InvalidInput
from vpn.lib.hub.moments import parse_duration, parse_end


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("2h", 7200), ("3d", 259200), ("1H", 3600)])
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "1", "0s", "-1s", "1.5h", "1 h", "1w", "h1", "1hh", "٣d", "3651d", "9" * 40 + "s", "1\x1b[31mh"]
)
def test_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is no duration") as caught:
        parse_duration(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-02", 2 * 86400),  # the end of that day
        ("1970-01-02T00:00", 86400),
        ("1970-01-02 06:30", 86400 + 6.5 * 3600),
        ("1970-01-02T06:30:00Z", 86400 + 6.5 * 3600),
        ("1970-01-02T06:30+02:00", 86400 + 4.5 * 3600),
        ("never", math.inf),
        ("NEVER", math.inf),
    ],
)
def test_an_end(text: str, moment: float) -> None:
    assert parse_end(text) == moment


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2027-13-01", "2027-02-30", "31.01.2027", "2027", "9999-12-31", "1e9"]
)
def test_no_end(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is no date; write such as 2027-01-31"):
        parse_end(text)
