"""The events in the daemons' logs: their names are promised in docs/monitoring.md."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib import logs
from vpn.lib.hub.counters import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT = Path(__file__).resolve().parents[1]
LEVELS = {"info", "warning", "error"}


def emitted(source: str) -> Iterator[str]:
    """The events of the logging calls of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            for keyword in node.keywords:
                if keyword.arg == "extra":
                    yield ast.literal_eval(keyword.value)["event"]


def documented() -> set[str]:
    """The names in the section's tables' first columns."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    section = re.search(r"^## Events in the log\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    cells = re.findall(r"^\| (`.*?) \|", section[1], re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([a-z-]+)`", cell)}


def by_code(*parts: str) -> set[str]:
    """The events of all modules below these folders of the library."""
    paths = [path for part in parts for path in (ROOT / "vpn" / "lib" / part).rglob("*.py")]
    return {event for path in paths for event in emitted(path.read_text())}


def test_every_documented_event_is_emitted_and_every_emitted_one_documented() -> None:
    assert documented() == by_code(".")


def test_the_events_of_both_daemons_are_found() -> None:
    # A scan that finds nothing would agree with an empty table.
    assert {"hub-ready", "hub-stopping", "drift-repaired", "tunnel-replaced"} <= by_code("hub")
    assert {"joined", "hub-lost", "tunnel-replaced"} <= by_code("component")


def test_what_the_metrics_count_is_emitted_by_the_hub() -> None:
    assert set(COUNTED) <= by_code("hub")


def test_an_event_is_in_the_json_line_and_not_in_the_human_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {}
    for log_format in ("json", "human"):
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        log = logs.start("test.events", log_format)
        log.info("ready: %s", "wg0", extra={"event": "hub-ready"})
        log.info("by the way")
        lines[log_format] = written.getvalue().splitlines()
    first, second = map(json.loads, lines["json"])
    assert (first["event"], first["message"], first["level"]) == ("hub-ready", "ready: wg0", "info")
    assert "event" not in second
    assert lines["human"][0].endswith(" info: ready: wg0")
