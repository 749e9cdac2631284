"""``make soak``: a consortium under changes, deaths and hangs for some minutes, and what must be true afterwards.

Commands run all the time on peers that come and go, a part of them killed somewhere on their way; WireGuard daemons are
killed and stopped, the hub itself is killed. At the end every acknowledged change is there, every other is whole or
absent, no address is held twice, every component is in, and the hub holds no more descriptors and memory than at first.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lab.consortium import Component, Consortium, kill, script
from lab.network import wait_until
from vpn.lib.registry.sqlite import SqliteRegistry
from vpn.lib.wireguard.keys import PrivateKey

if TYPE_CHECKING:
    from collections.abc import Sequence

CHURNED = 60
"""Ids that come and go besides the components."""

KILLED = 0.3
"""The part of the commands that is killed on its way."""


class State(NamedTuple):
    """Of an id: registered or not, with which key if any."""

    registered: bool = False
    key: str | None = None


class Model:
    """What each id may be: one state once a command was acknowledged, several after one that was not."""

    def __init__(self) -> None:
        self.states: dict[str, set[State]] = {f"soak{number}": {State()} for number in range(CHURNED)}
        self.acknowledged = self.killed = self.refused = 0

    def after(self, peer_id: str, command: Sequence[str], status: int) -> None:
        """Note a command and how it ended: 0 is acknowledged, less than 0 killed, 1 refused or not proven."""
        before = self.states[peer_id]
        changed = {self._done(state, command) for state in before}
        if status == 0:
            self.acknowledged += 1
            self.states[peer_id] = changed
        else:
            self.killed += status < 0
            self.refused += status > 0
            self.states[peer_id] = before | changed

    @staticmethod
    def _done(state: State, command: Sequence[str]) -> State:
        match command[0]:
            case "genconf":
                return State(True, state.key)
            case "add":
                return State(True, command[-1]) if state.registered else state
            case "remove":
                return state._replace(key=None)
            case _:
                return State()


class Soak:
    """One run. ``random`` decides everything that is not the machine's timing."""

    def __init__(self, consortium: Consortium, components: list[Component], rng: random.Random) -> None:
        self.hub = consortium.hub
        self.components = components
        self.random = rng
        self.model = Model()
        self.events: dict[str, int] = {}

    def run(self, seconds: float) -> None:
        """Changes and deaths for so long."""
        deadline = time.monotonic() + seconds
        next_event = time.monotonic() + 5
        while time.monotonic() < deadline:
            self._command()
            if time.monotonic() >= next_event:
                self._event()
                next_event = time.monotonic() + self.random.uniform(4, 10)

    def _command(self) -> None:
        peer_id = self.random.choice(list(self.model.states))
        verb = self.random.choice(["genconf", "genconf", "add", "add", "remove", "removeconf"])
        command = [verb, "node", peer_id]
        if verb == "add":
            command.append(str(PrivateKey.generate().public_key()))
        log = self.hub.folder.with_name("commands.log")
        process = self.hub.host.start([*script("configure_peer"), *command], log=log)
        if self.random.random() < KILLED:
            time.sleep(self.random.uniform(0, 0.12))
            with suppress(ProcessLookupError):
                process.kill()
        self.model.after(peer_id, command, process.wait(60))

    def _event(self) -> None:
        victim = self.random.choice(self.components)
        assert self.hub.process is not None
        kinds = ("hub's daemon killed", "hub's daemon stopped", "component's daemon killed", "hub killed")
        kind = self.random.choices(kinds, weights=(3, 2, 6, 1))[0]
        with suppress(ProcessLookupError, AssertionError):
            if kind == "hub killed":
                kill(self.hub.process.pid)
                self.hub.process.wait(10)
                self.hub.start()
            elif kind == "component's daemon killed":
                kill(victim.daemon_pid())
            else:
                kill(self.hub.daemon_pid(), signal.SIGSTOP if kind.endswith("stopped") else signal.SIGKILL)
        self.events[kind] = self.events.get(kind, 0) + 1

    def problems(self) -> list[str]:
        """What is not as it must be."""
        found = []
        listed = {peer["id"]: peer for peer in json.loads(self.hub.configure("list", "--json").stdout)}
        for peer_id, states in self.model.states.items():
            peer = listed.get(peer_id)
            now = State() if peer is None else State(True, peer["public_key"])
            if now not in states:
                found.append(f"{peer_id} is {now}, which is none of {states}")
        registry = SqliteRegistry(self.hub.folder / "ip_assign" / "registry.db")
        addresses = [peer.address for peer in registry.peers()]
        registry.close()
        if len(addresses) != len(set(addresses)):
            found.append("an address is held twice")
        keys = {peer["public_key"] for peer in listed.values() if peer["public_key"]}
        try:
            wait_until(lambda: self._held() == keys, 30, "wg0 holds what is registered")
        except TimeoutError as error:
            found.append(str(error))
        for component in self.components:
            if not component.ping(deadline=2):
                try:
                    component.wait_joined(60)
                except TimeoutError as error:
                    found.append(str(error))
        return found

    def _held(self) -> set[str]:
        return set(self.hub.host.run(["wg", "show", "wg0", "peers"]).stdout.split())


def weight(pid: int) -> tuple[int, int]:
    """Open descriptors of a process, and its memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), memory >> 10


def main() -> int:
    """Entry point: 0 if all held."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--components", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.components} components, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory(prefix="vpnsoak-") as folder, Consortium(Path(folder)) as consortium:
        consortium.hub.start()
        components = [consortium.component(f"component{number}") for number in range(options.components)]
        for number, component in enumerate(components):
            component.enrol(consortium.hub, "researcher", f"component{number}")
        for component in components:
            component.start()
        took = max(component.wait_joined(120) for component in components)
        print(f"all joined, {took:.0f} s after the last was started", flush=True)
        soak = Soak(consortium, components, random.Random(options.seed))
        soak.run(20)  # what is loaded once is loaded
        started, before = consortium.hub.process, weight(consortium.hub.process.pid)  # type: ignore[union-attr]
        soak.run(60 * options.minutes)
        problems = soak.problems()
        after = weight(consortium.hub.process.pid)  # type: ignore[union-attr]
        if consortium.hub.process is started and (after[0] > before[0] + 3 or after[1] > before[1] * 1.2 + 5):
            problems.append(f"descriptors and MiB of the hub grew from {before} to {after}")
        model = soak.model
        print(f"{model.acknowledged} commands acknowledged, {model.killed} killed, {model.refused} refused")
        print(f"{soak.events}")
        print(f"hub: {before[0]} descriptors, {before[1]} MiB before, {after[0]}, {after[1]} MiB after")
    for problem in problems:
        print(f"PROBLEM: {problem}")
    print("all held" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
