"""How old handshakes were in the last minutes, and that as a line to look at. In memory, and bounded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vpn.lib.hub.listing import View
    from vpn.lib.wireguard.keys import PublicKey

EVERY, POINTS = 10.0, 60
"""Seconds between two looks, and how many are kept: ten minutes."""

WIDTH, HEIGHT, TOP = 118, 18, 180
"""Of a line: its units, two to a point, and the seconds that it ends at: nobody who is older is active."""


class History:
    """The ages of each component's handshake, oldest first; None for none."""

    def __init__(self) -> None:
        self._ages: dict[PublicKey, deque[int | None]] = {}

    def add(self, views: Iterable[View]) -> None:
        """Note the ages of one reading; components that are not in it are forgotten."""
        fresh: dict[PublicKey, deque[int | None]] = {}
        for view in views:
            key = view.peer.public_key
            if key is not None:
                ages = self._ages.get(key) or deque(maxlen=POINTS)
                ages.append(None if view.age is None else min(int(view.age), TOP))
                fresh[key] = ages
        self._ages = fresh

    def line(self, key: PublicKey | None) -> str:
        """The points of an SVG polyline, empty where there are fewer than two."""
        ages = [] if key is None else list(self._ages.get(key, ()))
        return points(ages)


def points(ages: Sequence[int | None]) -> str:
    """The newest age is at the right, the greatest at the top; what is not known is left out.

    Points on a straight line between their neighbours are left out as well: most of a line are straight.
    """
    start = POINTS - len(ages)
    places = [
        (2 * (start + number), HEIGHT - 1 - round((HEIGHT - 2) * min(age, TOP) / TOP))
        for number, age in enumerate(ages)
        if age is not None
    ]
    if len(places) < 2:
        return ""
    kept = [places[0]]
    for before, here, after in zip(places, places[1:], places[2:], strict=False):
        if (here[1] - before[1]) * (after[0] - here[0]) != (after[1] - here[1]) * (here[0] - before[0]):
            kept.append(here)
    return " ".join(f"{x},{y}" for x, y in (*kept, places[-1]))
