"""Moments and durations as people write them."""

from __future__ import annotations

import calendar
import math
import time

from vpn.lib.errors import InvalidInput

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 3650 * 86400.0


def parse_duration(text: str, name: str) -> float:
    """Seconds of ``90s``, ``30m``, ``48h`` or ``7d``. Raises InvalidInput, which names the option ``name``."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal() and len(number) <= 9 and unit in _UNITS):
        raise InvalidInput(f"{name} {text[:40]!a} is no duration; write one such as 30m, 48h or 7d")
    seconds = float(int(number) * _UNITS[unit])
    if not 0 < seconds <= LONGEST:
        raise InvalidInput(f"{name} {text[:40]} is not between 1s and 3650d")
    return seconds


def parse_until(text: str) -> float:
    """Unix time of a day's end (``2027-01-31``) or of a moment (``2027-01-31T18:00``), UTC; infinity for ``never``.

    Raises InvalidInput.
    """
    if text == "never":
        return math.inf
    for pattern, length in (
        ("%Y-%m-%d", 86400),
        ("%Y-%m-%dT%H:%M", 0),
        ("%Y-%m-%dT%H:%M:%SZ", 0),
        ("%Y-%m-%d %H:%M", 0),
    ):
        if not text.isascii():
            break
        try:
            parsed = time.strptime(text, pattern)
        except ValueError:
            continue
        if 2000 <= parsed.tm_year <= 9999:
            return float(calendar.timegm(parsed) + length)
    raise InvalidInput(f"--until {text[:40]!a} is no date; write one such as 2027-01-31, 2027-01-31T18:00, or never")
