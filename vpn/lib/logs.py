"""Logging of the daemons: to stderr, human lines or one JSON object a line.

The main lines have an event, a name that stays when their words change: ``extra={"event": "hub-ready"}``. It is in
the JSON object, docs/monitoring.md lists all of them, and ``hub/counters.py`` counts some.
"""

from __future__ import annotations

import logging
import sys
import time


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{stamp} {record.levelname.lower()}: {record.getMessage()}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        import json

        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "message": record.getMessage()}
        event = event_of(record)
        return json.dumps(line if event is None else {**line, "event": event})


def event_of(record: logging.LogRecord) -> str | None:
    """The event that a line stands for, None for one that has no name."""
    event = getattr(record, "event", None)
    return event if isinstance(event, str) else None


def start(name: str, log_format: str) -> logging.Logger:
    """The logger of a daemon; ``log_format`` is ``human`` or ``json``. Tracebacks are never printed."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Human())
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.raiseExceptions = False
    return logger
