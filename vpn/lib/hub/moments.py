"""Durations and dates as people write them."""

from __future__ import annotations

import math

from vpn.lib.errors import InvalidInput

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 3650 * 86400
"""Seconds of a duration: ten years."""


def parse_duration(text: str) -> float:
    """Seconds, from ``30s``, ``15m``, ``2h`` or ``3d``. Raises InvalidInput."""
    number, unit = text[:-1], text[-1:].lower()
    if not (number.isascii() and number.isdecimal() and len(number) <= 9 and unit in UNITS):
        raise InvalidInput(f"{_shown(text)} is no duration; write such as 30s, 15m, 2h or 3d")
    seconds = int(number) * UNITS[unit]
    if not 0 < seconds <= LONGEST:
        raise InvalidInput(f"{_shown(text)} is no duration between 1s and {LONGEST // 86400}d")
    return float(seconds)


def parse_end(text: str) -> float:
    """When something ends (Unix time), from ``2027-01-31``: the end of that day, or ``2027-01-31T12:00``; both in UTC.

    ``never`` is infinity. Raises InvalidInput.
    """
    if text.lower() == "never":
        return math.inf
    from datetime import UTC, date, datetime, timedelta

    try:
        if len(text) == len("2027-01-31"):
            moment = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{_shown(text)} is no date; write such as 2027-01-31 or 2027-01-31T12:00 (UTC)") from error


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:37] + "...")
