"""What only the hub's daemon knows of its own life, for the metrics: ``wireguard/counters``.

Some of its log's events are counted as they are logged. The file is written when a count changes, and not synced: it
does not outlive the daemon.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env, files
from vpn.lib.errors import InvalidInput, StateError, VpnError
from vpn.lib.hub.state import WIREGUARD_FOLDER
from vpn.lib.logs import event_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from vpn.lib.hub.settings import Settings

TUNNEL_REPLACED, DRIFT_REPAIRED, FIREWALL_REPAIRED = "tunnel-replaced", "drift-repaired", "firewall-repaired"
SERVING_REPLACED = "serving-replaced"
COUNTED = (TUNNEL_REPLACED, DRIFT_REPAIRED, FIREWALL_REPAIRED, SERVING_REPLACED)


class Counters(NamedTuple):
    """``started`` is Unix time; ``events`` has the count of each of ``COUNTED`` since then."""

    started: float
    events: Mapping[str, int]


class Counting(logging.Handler):
    """Counts the daemon's events as they are logged, and publishes the counts."""

    def __init__(self, settings: Settings, started: float) -> None:
        super().__init__()
        self._settings = settings
        self._started = started
        self._events = dict.fromkeys(COUNTED, 0)
        self._save()

    def emit(self, record: logging.LogRecord) -> None:
        """Count the record's event. Where it cannot be written, the next one writes both."""
        event = event_of(record)
        if event in self._events:
            self._events[event] += 1
            self._save()

    def _save(self) -> None:
        values = {"STARTED": f"{self._started:.3f}"}
        values |= {_variable(event): str(count) for event, count in self._events.items()}
        with suppress(VpnError):
            path = _path(self._settings)
            files.write(path, config_env.render(values).encode(), owner=self._settings.owner, durable=False)


@contextmanager
def counting(settings: Settings, log: logging.Logger) -> Iterator[None]:
    """While the block runs, events of ``log`` are counted, from zero, and published."""
    handler = Counting(settings, time.time())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(FileNotFoundError):
            _path(settings).unlink()


def load(settings: Settings) -> Counters | None:
    """The published counters, None where there are none."""
    try:
        values = config_env.load(_path(settings))
        return Counters(float(values["STARTED"]), {event: int(values[_variable(event)]) for event in COUNTED})
    except (FileNotFoundError, InvalidInput, StateError, KeyError, ValueError):
        return None


def _path(settings: Settings) -> Path:
    return settings.folder / WIREGUARD_FOLDER / "counters"


def _variable(event: str) -> str:
    return event.upper().replace("-", "_")
