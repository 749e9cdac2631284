"""Commands that are killed, or meet a failing disk, at each of their writing system calls.

`strace` kills the real script right before its Nth call of a kind, or lets that call fail. Whatever the
moment, the state directory holds the old or the new state, and the same command run again ends well.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.bin.scripts import Outcome, Scripts, public_key
from tests.hub.memory_device import MemoryDevice
from tests.registry.snapshot import secrets
from vpn.lib.hub import life, peer_config, settings as hub_settings, state, when
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.service import Hub
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.wireguard.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

WRITING = (
    "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,chmod,fchmod,"
    "fchmodat,fchown,sendfile,copy_file_range,syncfs"
)
FAILING = {
    "write": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "mkdirat": ("ENOSPC",),
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
}
"""The calls that a full or a failing disk makes fail, and how."""

MOST = 8
"""Moments of one kind of call in one command; of more, that many are taken, evenly spread."""

TARGET = PeerName(PeerType.NODE, "node1")
Peers = dict[str, tuple[str, str | None, str, float | None, bool]]


class Case(NamedTuple):
    """A command, on ``hub`` (two peers), ``fresh`` (nothing) or ``older`` (an older installation)."""

    base: str
    arguments: tuple[str, ...]


CASES = {
    "the first command ever": Case("fresh", ("genconf", "node", "node1")),
    "genconf": Case("hub", ("genconf", "node", "new")),
    "add": Case("hub", ("add", "node", "node1", public_key(1))),
    "add of another key": Case("hub", ("add", "node", "node2", public_key(1))),
    "remove": Case("hub", ("remove", "node", "node2")),
    "removeconf": Case("hub", ("removeconf", "node", "node2")),
    "disable": Case("hub", ("disable", "node", "node2")),
    "an end": Case("hub", ("genconf", "node", "node2", "--until", "2999-12-31")),
    "a rotation": Case("hub", ("rotate", "node", "node2", "--wait", "0")),
    "rename": Case("hub", ("rename", "node", "node2", "renamed")),
    "a take-over": Case("older", ("genconf", "node", "new")),
}


class Moment(NamedTuple):
    """Right before the ``number``th ``call``, counted from 1."""

    call: str
    number: int


def peers_of(hub: Hub) -> Peers:
    """Who is registered, where, with which key, and what is arranged."""
    return {
        str(peer.name): (
            str(peer.address),
            None if peer.public_key is None else str(peer.public_key),
            peer.standing.value,
            peer.until,
            peer.rotation is not None,
        )
        for peer in hub.peers()
    }


class Bench:
    """Runs one command on copies of one state directory."""

    def __init__(self, base: Scripts, case: Case) -> None:
        self.base = base
        self.case = case
        self.before = self.peers(base.folder) if case.base == "hub" else {}
        self.hub_key = self.key(base.folder) if case.base == "hub" else None
        with self.copy() as scripts:
            calls = scripts.elsewhere / "calls"
            tracing = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={WRITING}", "-o", str(calls)]
            assert scripts.peer(*self.arguments(scripts), through=tracing).status == 0
            self.after = self.peers(scripts.folder)
            if case.base == "older":
                self.hub_key = self.key(scripts.folder)
            found = re.findall(r"^\d+ +([a-z0-9]+)\(", calls.read_text(), re.MULTILINE)
        self.moments = [
            Moment(call, number)
            for call, count in sorted(Counter(found).items())
            for number in range(1, count + 1, max(1, -(-count // MOST)))
        ]

    @contextmanager
    def copy(self) -> Iterator[Scripts]:
        """A copy of the state directory to work on."""
        with tempfile.TemporaryDirectory(prefix="vpn-kill-") as place:
            folder, elsewhere = Path(place, "config"), Path(place, "elsewhere")
            shutil.copytree(self.base.folder, folder)
            elsewhere.mkdir()
            scripts = Scripts(folder, elsewhere)
            # Else the calls that write bytecode would be counted too, the first time.
            scripts.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            yield scripts

    def run(self, scripts: Scripts, moment: Moment, fate: str) -> Outcome:
        """Run the command to ``moment`` and let ``fate`` happen there."""
        inject = f"inject={moment.call}:{fate}:when={moment.number}"
        # strace 6.1 injects errors with the quick filter, but no signals.
        quick = [] if fate.startswith("signal") else ["--seccomp-bpf"]
        tracing = ["strace", "-f", *quick, "-qq", "-e", f"trace={moment.call}", "-e", inject, "-o", "/dev/null"]
        return scripts.peer(*self.arguments(scripts), through=tracing)

    def arguments(self, scripts: Scripts) -> tuple[str, ...]:
        """The command, for this copy."""
        return self.case.arguments

    @staticmethod
    def open(folder: Path) -> Hub:
        """The hub in this process, without a wg0."""
        settings = hub_settings.load({"VPN_CONFIG_DIR": str(folder), "VPN_SERVER_PUBLIC_ADDR": "hub.example.org"})
        device = MemoryDevice()
        device.missing = True
        return Hub(settings, device)

    def peers(self, folder: Path) -> Peers:
        """Who is registered, where, and with which key."""
        with self.open(folder) as hub:
            return peers_of(hub)

    def key(self, folder: Path) -> PublicKey:
        """The hub's key."""
        with self.open(folder) as hub:
            return hub.public_key()

    def again(self, folder: Path) -> None:
        """The same command, in this process."""
        command, _, peer_id, *more = self.case.arguments
        name = PeerName(PeerType.NODE, peer_id)
        with self.open(folder) as hub:
            if command == "add":
                hub.add(name, PublicKey.parse(more[0]))
            elif command == "genconf" and more:
                hub.genconf(name, Terms(until=when.parse_until(more[1])))
            elif command == "disable":
                life.disable(hub, name)
            elif command == "rotate":
                life.ask_rotation(hub, name)
            elif command == "rename":
                life.rename(hub, name, more[0])
            else:
                getattr(hub, command)(name)

    def check(self, scripts: Scripts, outcome: Outcome) -> list[str]:
        """What is not as it should be after the command ended as it did."""
        problems = []
        folder = scripts.folder
        found = self.peers(folder)
        # A take-over that was not finished is done by whoever opens the registry next.
        old = (
            {name: peer for name, peer in self.after.items() if name != "node new"}
            if self.case.base == "older"
            else self.before
        )
        if found not in (old, self.after):
            problems.append(f"neither old nor new: {found}")
        if outcome.out and found != self.after:
            problems.append("acknowledged, and lost")
        if self.hub_key is not None and self.key(folder) != self.hub_key:
            problems.append("another hub key")
        self.again(folder)
        if self.peers(folder) != self.after:
            problems.append(f"the retry did not get there: {self.peers(folder)}")
        problems += self.check_files(folder)
        if any(secret in outcome.out + outcome.err for secret in secrets(folder)):
            problems.append("a secret is printed")
        return problems

    def check_files(self, folder: Path) -> list[str]:
        """What is not as it should be in the registry and the tree after the retry."""
        problems = []
        with self.open(folder) as hub, closing(state.open_registry(hub.settings, lambda _: None)) as registry:
            registry.check()
            for peer in registry.peers():
                path = hub.config_path(peer.name)
                text = path.read_text()
                # Files of an older installation stay as they are until the hub starts.
                if self.case.base != "older" and text != peer_config.text(peer, hub.settings, registry.public_key()):
                    problems.append(f"{peer.name}: another config.env than is registered")
            names = {str(peer.name) for peer in registry.peers()}
        tree = folder / "config_peers"
        strangers = [path for path in tree.glob("*/*") if f"{path.parent.name} {path.name}" not in names]
        return [*problems, *(f"{path} was left behind" for path in [*strangers, *tree.rglob(".*")])]


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def bench(request: pytest.FixtureRequest) -> Bench:
    """A bench for each case."""
    case: Case = request.param
    return Bench(request.getfixturevalue(case.base), case)


def test_a_command_that_is_killed_leaves_the_old_or_the_new_state(bench: Bench) -> None:
    def at(moment: Moment) -> list[str]:
        with bench.copy() as scripts:
            outcome = bench.run(scripts, moment, "signal=KILL")
            problems = bench.check(scripts, outcome)
            if outcome.status != -signal.SIGKILL:
                problems.append(f"not killed: {outcome}")
            return [f"{moment}: {problem}" for problem in problems]

    with ThreadPoolExecutor(2) as pool:
        problems = [problem for found in pool.map(at, bench.moments) for problem in found]
    assert problems == []


def test_a_disk_that_fails_is_told_in_one_line(bench: Bench) -> None:
    def at(moment: Moment, error: str) -> list[str]:
        with bench.copy() as scripts:
            outcome = bench.run(scripts, moment, f"error={error}")
            problems = bench.check(scripts, outcome)
            lines = [line for line in outcome.err.splitlines() if "warning: " not in line and "took over" not in line]
            # What is not needed for the change (SQLite's clearing up) may fail unnoticed.
            if outcome.status not in (0, 1) or len(lines) != outcome.status or "Traceback" in outcome.err:
                problems.append(f"not told well: {outcome}")
            return [f"{moment} {error}: {problem}" for problem in problems]

    with ThreadPoolExecutor(2) as pool:
        failures = [(moment, error) for moment in bench.moments for error in FAILING.get(moment.call, ())]
        problems = [problem for found in pool.map(at, *zip(*failures, strict=True)) for problem in found]
    assert problems == []


def test_strace_is_there() -> None:
    # Without it the tests above would fail one by one with less to say.
    assert shutil.which("strace"), "install strace"
    assert subprocess.run(["strace", "-qq", "true"], check=False, capture_output=True).returncode == 0
