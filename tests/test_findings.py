"""What a doctor's findings look like, and that no check ends or holds up an examination."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from pathlib import Path

import pytest

from vpn.lib import findings
from vpn.lib.errors import Refused
from vpn.lib.findings import Examination, Finding, State, failed, ok, skipped, warning

FOUND = [
    Finding("config", State.OK, "it is there"),
    Finding("name", State.WARNING, "it is odd"),
    Finding("udp", State.FAILED, "nobody listens; start it"),
    Finding("mtu", State.SKIPPED, "not looked at", "node"),
]


ROOT = Path(__file__).resolve().parents[1]


def raising(error: Exception) -> findings.Verdict:
    raise error


def test_a_line_for_each_with_its_mark() -> None:
    assert findings.as_text(FOUND) == (
        "ok    config  it is there\nwarn  name    it is odd\nFAIL  udp     nobody listens; start it\n"
        "node:\nskip  mtu     not looked at"
    )
    assert findings.as_text(FOUND[2:3], colour=True) == "\x1b[31mFAIL\x1b[0m  udp  nobody listens; start it"
    assert findings.as_text([]) == ""


def test_json_is_an_array_of_objects_and_is_read_back() -> None:
    text = findings.as_json(FOUND)
    assert json.loads(text)[2] == {"check": "udp", "state": "failed", "message": "nobody listens; start it"}
    assert json.loads(text)[3]["component"] == "node"
    assert findings.of_json(text, "mqtt") == [finding._replace(component="mqtt") for finding in FOUND]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"check": "udp"}]', '[{"check":"a","state":"b","message":"c"}]'])
def test_what_is_no_findings_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own is one
        findings.of_json(text, "node")


def test_only_what_failed_makes_the_status() -> None:
    assert findings.status(FOUND) == 1
    assert findings.status([*FOUND[:2], FOUND[3]]) == 0


def test_a_check_that_needs_another_is_skipped_with_the_reason() -> None:
    examination = Examination()
    examination.check("first", lambda: failed("no"))
    examination.check("second", lambda: ok("yes"), needs=("first",))
    examination.check("third", lambda: ok("yes"), needs=("second",))
    examination.check("fourth", lambda: warning("hm"))
    examination.check("fifth", lambda: ok("yes"), needs=("fourth",))
    assert [(item.state.value, item.message) for item in examination.findings[1:]] == [
        ("skipped", "not looked at, since `first` failed"),
        ("skipped", "not looked at, since `second` was skipped"),
        ("warning", "hm"),
        ("ok", "yes"),
    ]


def test_errors_are_findings() -> None:
    examination = Examination()
    examination.check("refused", lambda: raising(Refused("it is\nrefused; do this")))
    examination.check("disk", lambda: raising(OSError(errno.ENOSPC, "full", "/x")))
    examination.check("unexpected", lambda: raising(KeyError("what\x1b")))
    assert [item.state for item in examination.findings] == [State.FAILED] * 3
    assert [item.message for item in examination.findings][:2] == [
        "it is refused; do this",
        "/x: full; free some space on that file system, then try again",
    ]
    assert all(item.message.isprintable() for item in examination.findings)


@pytest.mark.parametrize(("uid", "state"), [(0, State.FAILED), (1234, State.SKIPPED)])
def test_what_may_not_be_seen_is_said_to_others_than_root(
    monkeypatch: pytest.MonkeyPatch, uid: int, state: State
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    examination = Examination()
    verdict = examination.check("file", lambda: raising(PermissionError(errno.EACCES, "Permission denied", "/x")))
    assert verdict.state is state
    assert ("run this as root" in verdict.message) == (uid != 0)


def test_a_check_that_hangs_is_left_behind_and_the_time_of_all_is_bounded() -> None:
    never = threading.Event()
    examination = Examination(0.05)
    examination.check("slow", lambda: ok(str(never.wait(60))), late="it hangs; end it")
    examination.check("next", lambda: skipped("never said"))
    assert [(item.state.value, item.message) for item in examination.findings] == [
        ("failed", "it hangs; end it"),
        ("skipped", "not looked at: the checks before took all the time; run it again"),
    ]
    assert examination.unfinished
    never.set()


@pytest.mark.parametrize(("part", "title"), [("component", "a component"), ("hub", "the hub"), ("deploy", "a host")])
def test_every_check_is_in_its_table_of_the_docs(part: str, title: str) -> None:
    source = (ROOT / "vpn/lib" / part / "doctor.py").read_text()
    checks = set(re.findall(r'check\(\s*"([a-z0-9-]+)"', source)) | set(re.findall(r'Finding\("([a-z]+)"', source))
    text = (ROOT / "docs/doctor.md").read_text()
    section = text.partition(f"## On {title}")[2].partition("\n## ")[0]
    assert len(checks) > 5
    assert checks == set(re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.M))
