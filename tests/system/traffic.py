"""Traffic between components, watched while the hub changes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab.network import wait_until

if TYPE_CHECKING:
    import subprocess

    from lab.consortium import Component

SCRIPT = str(Path(__file__).with_name("flow.py"))
PORT = 1883

BROKER = "10.220.0.2"
"""The address of management mqtt."""

UNDER_WAY = 0.5
"""Seconds that an answer may come after the cut, being under way or written late on a busy machine."""


class Traffic:
    """A process that writes a line with the Unix time for each answer."""

    pattern = re.compile(r"^([\d.]+) \d+$", re.MULTILINE)

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        wait_until(lambda: self.count() >= 5, 30, f"answers in {log.name}")

    def moments(self) -> list[float]:
        """When each answer came."""
        return [float(moment) for moment in self.pattern.findall(self._log.read_text())]

    def count(self) -> int:
        """How many answers have come."""
        return len(self.moments())

    def count_after(self, moment: float) -> int:
        """How many answers have come after a moment."""
        return sum(answer > moment for answer in self.moments())

    def goes_on(self, answers: int = 50) -> None:
        """Wait for so many answers more; fails when the flow has ended or they do not come."""
        before = self.count()
        wait_until(lambda: self.count() >= before + answers, 30, f"{answers} more answers in {self._log.name}")
        assert self.process.poll() is None


class Ping(Traffic):
    """A ping that goes on."""

    pattern = re.compile(r"^\[([\d.]+)\] \d+ bytes from", re.MULTILINE)

    def __init__(self, component: Component, address: str = BROKER) -> None:
        log = component.folder.with_name(f"{component.host.name}.ping")
        super().__init__(component.host.start(["ping", "-n", "-D", "-i", "0.05", address], log=log), log)


class Flow(Traffic):
    """A TCP connection that goes on, to a component that echoes (``serve``)."""

    def __init__(self, component: Component, address: str = BROKER) -> None:
        log = component.folder.with_name(f"{component.host.name}.flow")
        super().__init__(component.host.start([sys.executable, SCRIPT, "send", address, str(PORT)], log=log), log)


def serve(component: Component) -> None:
    """Echo TCP flows on this component."""
    log = component.folder.with_name(f"{component.host.name}.serve")
    component.host.start([sys.executable, SCRIPT, "serve", str(PORT)], log=log)
    wait_until(lambda: "listening" in log.read_text(), 30, f"{component.host.name} listens")
