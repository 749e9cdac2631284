"""Durations and dates as people write them."""

from __future__ import annotations

import math

import pytest

from vpn.lib.errors import InvalidInput
from vpn.lib.hub.when import parse_duration, parse_until


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("2h", 7200), ("3d", 259200)])
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text, "--valid") == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "1", "0s", "-1s", "1.5h", "1 h", "1w", "h1", "1H", "٣d", "3651d", "9" * 40 + "s", "1\x1b[31mh"],
)
def test_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--valid .*(is no duration|is not between)") as caught:
        parse_duration(text, "--valid")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31", 1801440000),  # the end of that day
        ("2027-02-01T00:00", 1801440000),
        ("2027-02-01 06:30", 1801440000 + 6.5 * 3600),
        ("2027-02-01T06:30:00Z", 1801440000 + 6.5 * 3600),
        ("never", math.inf),
    ],
)
def test_an_end(text: str, moment: float) -> None:
    assert parse_until(text) == moment


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2027-13-01", "2027-02-30", "31.01.2027", "2027", "1999-12-31", "NEVER", "1e9"]
)
def test_no_end(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^--until .* is no date; write one such as 2027-01-31"):
        parse_until(text)
