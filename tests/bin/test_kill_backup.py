"""backup, restore, ``--leaked`` and the migration: killed, or on a failing disk, at each writing system call."""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import Outcome, Scripts, public_key
from tests.bin.test_kill import FAILING, Bench, Case, Moment, Peers, peers_of
from tests.registry import schema1
from tests.registry.stored import key, peer
from vpn.lib.errors import StateError
from vpn.lib.hub import backup_file, state
from vpn.lib.registry.audit import find_break

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.service import Hub

pytestmark = pytest.mark.system

CASES = {
    "backup": Case("hub", ("backup", "{folder}/new", "--plain")),
    "backup over an earlier one": Case("hub", ("backup", "{folder}/saved", "--plain")),
    "restore": Case("hub", ("restore", "{folder}/saved")),
    "restore of a lost registry": Case("lost", ("restore", "{folder}/saved")),
    "restore of a damaged registry": Case("damaged", ("restore", "{folder}/saved")),
    "remove --leaked": Case("hub", ("remove", "node", "node2", "--leaked")),
    "removeconf --leaked": Case("hub", ("removeconf", "node", "node2", "--leaked")),
    "a migration": Case("schema 1", ("list",)),
}


def prepare(hub: Scripts, base: str) -> None:
    """A hub with a backup of another state: other peers, another port."""
    saved = hub.folder / "saved"
    assert hub.peer("backup", saved, "--plain").status == 0
    hub.done("genconf", "node", "node3")
    hub.done("add", "node", "node1", public_key(1))
    hub.done("removeconf", "researcher", "node1")
    registry = hub.folder / "ip_assign" / "registry.db"
    with (hub.folder / "config.env").open("a") as config:
        config.write("export VPN_SERVER_PORT=1234\n")
    for name in ("node1", "node2", "node3"):
        hub.done("genconf", "node", name)
    if base in ("lost", "schema 1"):
        registry.unlink()
    if base == "schema 1":
        shutil.rmtree(hub.folder / "config_peers")
        schema1.write(registry, peer(2), peer(3, public_key=key(3)))
    if base == "damaged":
        registry.write_bytes(registry.read_bytes()[:8000])


class BackupBench(Bench):
    """Runs a command that is about the whole hub."""

    def arguments(self, scripts: Scripts) -> tuple[str, ...]:
        return tuple(argument.format(folder=scripts.folder) for argument in self.case.arguments)

    @staticmethod
    def open(folder: Path) -> Hub:
        """The hub; where a restore was finished by opening it, opened again."""
        try:
            return Bench.open(folder)
        except StateError as error:
            assert "a restore that was interrupted is finished" in str(error)  # noqa: PT017 - most moments do not
            return Bench.open(folder)

    def peers(self, folder: Path) -> Peers:
        with self.open(folder) as hub:
            return peers_of(hub)

    def check(self, scripts: Scripts, outcome: Outcome) -> list[str]:
        """What is not as it should be after the command ended as it did, and after it was run again."""
        problems = []
        restores_lost = self.case.base in ("lost", "damaged")
        if not restores_lost or (outcome.status == 0 and outcome.out):
            found = self.peers(scripts.folder)
            if found not in (self.before or self.after, self.after):
                problems.append(f"neither old nor new: {found}")
            if outcome.out and found != self.after:
                problems.append("acknowledged, and lost")
        if self.case.arguments[0] == "backup":
            problems += self.check_backup(scripts, saved=outcome.status == 0)
        again = scripts.peer(*self.arguments(scripts))
        if again.status != 0 and "a restore that was interrupted is finished" in again.err:
            again = scripts.peer(*self.arguments(scripts))
        if again.status != 0:
            problems.append(f"the retry fails: {again}")
        if self.case.arguments[0] == "backup":
            problems += self.check_backup(scripts, saved=True)
        if self.peers(scripts.folder) != self.after:
            problems.append(f"the retry did not get there: {self.peers(scripts.folder)}")
        if self.case.base != "schema 1":
            problems += self.check_files(scripts.folder)
        return [*problems, *self.check_log(scripts.folder)]

    def check_backup(self, scripts: Scripts, *, saved: bool) -> list[str]:
        """A backup is whole, the former one, or not there."""
        path = scripts.folder / self.case.arguments[1].removeprefix("{folder}/")
        if not path.exists():
            return ["acknowledged, and no backup"] if saved else []
        backup_file.unpack(path.read_bytes(), "the backup", lambda: b"")
        return []

    def check_log(self, folder: Path) -> list[str]:
        """The log is whole, and no temporary file is left where the retry should have taken it away."""
        with self.open(folder) as hub, closing(state.open_registry(hub.settings, lambda _: None)) as registry:
            found = find_break(registry.chain(), registry.records())
            leaked = [str(key) for key in registry.leaked()]
        problems = [] if found is None else [f"the log is broken: {found}"]
        if "--leaked" in self.case.arguments:
            file = folder / "wireguard" / "leaked-keys"
            if leaked != [public_key(2)] or public_key(2) not in file.read_text():
                problems.append(f"the leaked key is not marked: {leaked}")
        left = [path for path in folder.rglob(".*") if "backup-" not in str(path.parent)]
        return [*problems, *(f"{path.relative_to(folder)} was left behind" for path in left)]


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def bench(request: pytest.FixtureRequest, hub: Scripts) -> Bench:
    """A bench for each case."""
    case: Case = request.param
    prepare(hub, case.base)
    return BackupBench(hub, case)


def test_a_command_that_is_killed_leaves_the_old_or_the_new_state(bench: Bench) -> None:
    def at(moment: Moment) -> list[str]:
        with bench.copy() as scripts:
            outcome = bench.run(scripts, moment, "signal=KILL")
            problems = bench.check(scripts, outcome)
            if outcome.status != -signal.SIGKILL:
                problems.append(f"not killed: {outcome}")
            return [f"{moment}: {problem}" for problem in problems]

    assert len(bench.moments) > 5
    with ThreadPoolExecutor(2) as pool:
        problems = [problem for found in pool.map(at, bench.moments) for problem in found]
    assert problems == [], "\n".join(problems)


def test_a_disk_that_fails_is_told_in_one_line(bench: Bench) -> None:
    def at(moment: Moment, error: str) -> list[str]:
        with bench.copy() as scripts:
            outcome = bench.run(scripts, moment, f"error={error}")
            problems = bench.check(scripts, outcome)
            lines = [line for line in outcome.err.splitlines() if "warning: " not in line and "up to date" not in line]
            # What is not needed for the change (SQLite's clearing up) may fail unnoticed.
            if outcome.status not in (0, 1) or len(lines) != outcome.status or "Traceback" in outcome.err:
                problems.append(f"not told well: {outcome}")
            return [f"{moment} {error}: {problem}" for problem in problems]

    with ThreadPoolExecutor(2) as pool:
        failures = [(moment, error) for moment in bench.moments for error in FAILING.get(moment.call, ())]
        problems = [problem for found in pool.map(at, *zip(*failures, strict=True)) for problem in found]
    assert problems == [], "\n".join(problems)
