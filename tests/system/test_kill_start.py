"""The hub is killed at its writing system calls while it starts, anew and on an older installation."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill
from tests.bin.test_kill import WRITING, Moment
from tests.registry.snapshot import OLDER_INSTALLATION

if TYPE_CHECKING:
    from lab.consortium import Consortium, Hub

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

MOST = 4
"""Moments of one kind of call; of more, that many are taken, evenly spread."""


def prepare(hub: Hub, base: str) -> None:
    """The state directory: nothing but the settings, or an older installation with them."""
    settings = (hub.folder / "config.env").read_text()
    shutil.rmtree(hub.folder)
    if base == "older":
        shutil.copytree(OLDER_INSTALLATION, hub.folder)
    else:
        hub.folder.mkdir(mode=0o700)
    (hub.folder / "config.env").write_text(settings)


def moments(hub: Hub, calls: Path) -> list[Moment]:
    """When the start can be killed: the writing calls of the hub's own thread until it is ready."""
    hub.start(["strace", "-qq", "-e", f"trace={WRITING}", "-o", str(calls)])
    found = re.findall(r"^([a-z0-9]+)\(", calls.read_text(), re.MULTILINE)
    assert ended(hub, 0) == 0
    return [
        Moment(call, number)
        for call, count in sorted(Counter(found).items())
        for number in range(1, count + 1, max(1, -(-count // MOST)))
    ]


def ended(hub: Hub, patience: float = 3) -> int:
    """The exit status of a traced hub; it is stopped if it has not ended by itself in time."""
    assert hub.process is not None
    with suppress(subprocess.TimeoutExpired):
        return hub.process.wait(patience)
    # strace keeps the signals that it gets to itself.
    (traced,) = Path(f"/proc/{hub.process.pid}/task/{hub.process.pid}/children").read_text().split()
    kill(int(traced), signal.SIGTERM)
    return hub.process.wait(10)


def state(hub: Hub) -> tuple[str, dict[str, tuple[str, str | None]]]:
    """The hub's key, and who is registered where with which key."""
    peers = hub.peers()
    key = hub.configure("public-key").stdout
    return key, {name: (peer["address"], peer["public_key"]) for name, peer in peers.items()}


@pytest.mark.parametrize("base", ["fresh", "older"])
def test_a_start_that_was_killed_is_finished_by_the_next(idle: Consortium, base: str, tmp_path: Path) -> None:
    hub = idle.hub
    prepare(hub, base)
    due = moments(hub, tmp_path / "calls")
    assert {"pwrite64", "renameat", "mkdirat"} & {moment.call for moment in due}
    _, peers = state(hub)
    assert len(peers) == (6 if base == "older" else 0)
    key_of_older = hub.configure("public-key").stdout if base == "older" else None
    killed = 0
    for moment in due:
        prepare(hub, base)
        inject = f"inject={moment.call}:signal=KILL:when={moment.number}"
        tracing = ["strace", "-qq", "-e", f"trace={moment.call}", "-e", inject, "-o", "/dev/null"]
        with suppress(RuntimeError):  # that it ended, unless the call comes after it is ready this time
            hub.start(tracing)
        killed += ended(hub) == -signal.SIGKILL
        before = None
        if (hub.folder / "ip_assign" / "registry.db").exists():
            before = state(hub)
        hub.start()
        after = state(hub)
        assert after[1] == peers, moment
        assert key_of_older in (None, after[0]), moment
        assert before in (None, after), moment
        assert hub.stop() == 0
        assert not list(hub.folder.rglob("*.tmp")), moment
    # How often it logs and looks before it is ready is not the same each time.
    assert killed >= 0.8 * len(due)
