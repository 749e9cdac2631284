"""What a doctor finds: one line each, for people and as JSON. The standard library only, since hosts have no more."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import VpnError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class State(Enum):
    """How a check ended. Its value is the word in JSON."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(NamedTuple):
    """What a check says: one line."""

    state: State
    message: str


class Finding(NamedTuple):
    """A verdict with the name of its check, and of the component where several are looked at."""

    check: str
    state: State
    message: str
    component: str = ""


MARKS = {State.OK: "ok", State.WARNING: "warn", State.FAILED: "FAIL", State.SKIPPED: "skip"}
COLOURS = {State.OK: "32", State.WARNING: "33", State.FAILED: "31", State.SKIPPED: "90"}
"""Of the marks, as SGR parameters (ECMA-48)."""

LIMIT = 4.0
"""Seconds that a check may take."""


def ok(message: str) -> Verdict:
    """As it should be."""
    return Verdict(State.OK, message)


def warning(message: str) -> Verdict:
    """It works, and needs care."""
    return Verdict(State.WARNING, message)


def failed(message: str) -> Verdict:
    """It does not work."""
    return Verdict(State.FAILED, message)


def skipped(message: str) -> Verdict:
    """It was not looked at, and why."""
    return Verdict(State.SKIPPED, message)


class Examination:
    """Checks, one after the other. None of them ends it with an error, or takes longer than it may.

    ``unfinished`` tells whether one of them goes on, because it took too long.

    ``seconds`` bounds all of them together; ``component`` is what the findings are of, where there are several.
    """

    def __init__(self, seconds: float = 12.0, component: str = "") -> None:
        self.findings: list[Finding] = []
        self._deadline = time.monotonic() + seconds
        self._component = component
        self.unfinished = False

    def check(
        self,
        name: str,
        judge: Callable[[], Verdict],
        *,
        needs: Sequence[str] = (),
        limit: float = LIMIT,
        late: str = "",
    ) -> Verdict:
        """Run ``judge``, unless a check that it ``needs`` did not end well; ``late`` is said when it takes too long."""
        states = {finding.check: finding.state for finding in self.findings}
        broken = next((need for need in needs if states[need] in (State.FAILED, State.SKIPPED)), None)
        seconds = min(limit, self._deadline - time.monotonic())
        if broken is not None:
            verdict = skipped(
                f"not looked at, since `{broken}` {states[broken].value.replace('skipped', 'was skipped')}"
            )
        elif seconds <= 0:
            verdict = skipped("not looked at: the checks before took all the time; run it again")
        else:
            said = _in_time(judge, seconds)
            self.unfinished |= said is None
            verdict = said or failed(
                late or f"there was no answer within {seconds:.0f} s; the machine is overloaded or a file system hangs"
            )
        self.findings.append(Finding(name, verdict.state, one_line(verdict.message), self._component))
        return verdict


def _in_time(judge: Callable[[], Verdict], seconds: float) -> Verdict | None:
    """None when it has not ended in time; then it goes on without us, and ends with the program."""
    answers: list[Verdict] = []
    thread = threading.Thread(target=lambda: answers.append(_caught(judge)), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


def _caught(judge: Callable[[], Verdict]) -> Verdict:
    try:
        return judge()
    except VpnError as error:
        line, forbidden = str(error), _forbidden(error)
    except OSError as error:
        line, forbidden = describe_os_error(error), _forbidden(error)
    except Exception as error:  # noqa: BLE001 - a check that cannot cope must not hide what the others find
        line, forbidden = f"this check does not understand what it met ({error!r:.200}); tell its developers", False
    if forbidden and os.geteuid() != 0:
        return skipped(f"user {os.geteuid()} may not see it ({line.partition(';')[0]}); run this as root")
    return failed(line)


def _forbidden(error: BaseException | None) -> bool:
    """Whether a refused permission is at the bottom of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
            return True
        error = error.__cause__
    return False


def one_line(text: str) -> str:
    """The text as one line that cannot act on a terminal."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


def as_text(findings: Sequence[Finding], *, colour: bool = False) -> str:
    """A line for each; under the component's name where there are several."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines, component = [], ""
    for finding in findings:
        if finding.component != component:
            component = finding.component
            lines.append(f"{component}:")
        mark = MARKS[finding.state].ljust(4)
        if colour:
            mark = f"\x1b[{COLOURS[finding.state]}m{mark}\x1b[0m"
        lines.append(f"{mark}  {finding.check.ljust(width)}  {finding.message}")
    return "\n".join(lines)


def as_json(findings: Iterable[Finding]) -> str:
    """An array of objects; the keys and the names of the checks are described in docs/doctor.md and stay."""
    return "[" + ",\n ".join(json.dumps(_dictionary(finding)) for finding in findings) + "]"


def of_json(text: str, component: str) -> list[Finding]:
    """What another doctor printed with ``as_json``. Raises ValueError for anything else."""
    items = json.loads(text)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("not findings")
    try:
        return [
            Finding(one_line(str(item["check"])), State(item["state"]), one_line(str(item["message"])), component)
            for item in items
        ]
    except KeyError as error:
        raise ValueError("not findings") from error


def status(findings: Iterable[Finding]) -> int:
    """The exit status: 1 where anything failed."""
    return int(any(finding.state is State.FAILED for finding in findings))


def _dictionary(finding: Finding) -> dict[str, str]:
    about = {"component": finding.component} if finding.component else {}
    return {**about, "check": finding.check, "state": finding.state.value, "message": finding.message}
