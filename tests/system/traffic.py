"""Traffic between components, watched while the hub changes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab.network import patience, wait_until

if TYPE_CHECKING:
    import subprocess

    from lab.consortium import Component
    from lab.network import Host

SCRIPT = str(Path(__file__).with_name("flow.py"))
PORT = 1883
"""The broker's, which the hub's firewall lets nodes and researchers reach."""

BROKER = "10.220.0.2"
"""The address of management mqtt."""

UNDER_WAY = patience(0.5)
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


def serve(component: Component, *ports: int) -> None:
    """Echo TCP flows on this component, at the broker's port where no other is named."""
    for port in ports or (PORT,):
        serve_on(component.host, port, component.folder.with_name(f"{component.host.name}.serve{port}"))


def serve_on(host: Host, port: int, log: Path) -> None:
    """Echo TCP flows on this host, at all of its addresses."""
    host.start([sys.executable, SCRIPT, "serve", str(port)], log=log)
    wait_until(lambda: "listening" in log.read_text(), 30, f"{host.name} listens")


def reaches(host: Host, address: str, port: int, *, seconds: float = 1) -> bool:
    """Whether a TCP connection to there is made within a few seconds."""
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
    done = host.run([sys.executable, "-c", code, address, str(port), f"{seconds:g}"], check=False)
    assert done.returncode == 0 or done.stderr.rstrip().endswith(("timed out", "refused", "unreachable")), done.stderr
    return done.returncode == 0
