"""Throughput from a node to the broker through the hub, with and without the firewall's table. Needs root.

``python -m benchmarks.throughput``: a table, about half a minute. The second line is the processor's time that the
hub's WireGuard daemon takes for the same bytes: packets pass the rules in its time, and it says more than the first on
a machine that is busy with other things. Rounds with and without take turns in one run, so
that the machine's drift drops out. The hub is held while its table is away, or it would put it back.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lab.consortium import ROOT, Consortium, kill
from lab.network import wait_until
from vpn.lib.firewall.nftables import hub_table
from vpn.lib.firewall.policy import DEFAULT
from vpn.lib.hub import settings as hub_settings
from vpn.lib.nft.table import REMOVAL

if TYPE_CHECKING:
    from lab.consortium import Hub

BROKER, PORT = "10.220.0.2", 1883
ROUNDS, SECONDS = 31, 0.4
LIMIT, COST_LIMIT = 1.1, 1.2


def receive() -> None:
    """Take connections one after the other, and read them to their end."""
    with socket.create_server(("", PORT)) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            with connection:
                while connection.recv(1 << 18):
                    pass
                connection.sendall(b"!")


def send() -> None:
    """Print how many bytes arrive, and how many a second: the receiver says when it has them all."""
    block = bytes(1 << 16)
    with socket.create_connection((BROKER, PORT), timeout=10) as connection:
        started, count = time.monotonic(), 0
        while time.monotonic() - started < SECONDS:
            connection.sendall(block)
            count += len(block)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        sys.stdout.write(f"{count} {count / (time.monotonic() - started)}\n")


class Round(NamedTuple):
    """What was carried in a second, in bytes, and the hub's seconds of processor for a byte."""

    rate: float
    cost: float


def processor(pid: int) -> float:
    """Seconds of processor that a process has had (proc(5), schedstat: nanoseconds)."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def measure(folder: Path) -> tuple[list[Round], list[Round]]:
    """The rounds with the table, and those without: neighbours in time have one place."""
    own = [sys.executable, "-m", "benchmarks.throughput"]
    with Consortium(folder) as consortium:
        hub = consortium.hub
        hub.start()
        broker, node = consortium.joined("management", "mqtt"), consortium.joined("node", "node1")
        log = folder / "receive.log"
        broker.host.start([*own, "receive"], log=log, environ={"PYTHONPATH": str(ROOT)})
        wait_until(lambda: "listening" in log.read_text(), 10, "the broker listens")
        assert hub.process is not None
        kill(hub.process.pid, signal.SIGSTOP)
        rounds: tuple[list[Round], list[Round]] = ([], [])
        daemon = hub.daemon_pid()
        for number in range(2 * ROUNDS + 1):
            switch(hub, present=number % 2 == 0)
            before = processor(daemon)
            sent = node.host.run([*own, "send"], environ={"PYTHONPATH": str(ROOT)}).stdout
            count, rate = map(float, sent.split())
            if number:  # the first warms up
                rounds[number % 2].append(Round(rate, (processor(daemon) - before) / count))
        return rounds


def switch(hub: Hub, *, present: bool) -> None:
    """Load the hub's table, or remove it."""
    settings = hub_settings.load({"VPN_CONFIG_DIR": str(hub.folder)})
    text = hub_table(DEFAULT, settings.plan, settings.interface) if present else REMOVAL
    hub.host.run(["nft", "-f", "-"], input=text)


def main() -> int:
    """Entry point; ``receive`` and ``send`` are the two ends, on their hosts."""
    if sys.argv[1:]:
        {"receive": receive, "send": send}[sys.argv[1]]()
        return 0
    if os.geteuid() != 0:
        print("benchmarks.throughput makes network namespaces: run it as root", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="vpn-bench-") as folder:
        guarded, bare = measure(Path(folder))
    # Of neighbours, so that a moment in which the machine is busy weighs once.
    pairs = list(zip(bare, guarded, strict=True))
    rate = statistics.median(without.rate / with_it.rate for without, with_it in pairs)
    cost = statistics.median(with_it.cost / without.cost for without, with_it in pairs)
    rates = [statistics.median(item.rate for item in rounds) / 125_000 for rounds in (bare, guarded)]
    costs = [statistics.median(item.cost for item in rounds) * 2**30 for rounds in (guarded, bare)]
    print("| measurement | measured | ratio | limit |\n|---|---|---|---|")
    text = f"{rates[0]:.0f} : {rates[1]:.0f} Mbit/s"
    print(f"| throughput through the hub, without : with the firewall | {text} | {rate:.2f} | {LIMIT:g} |")
    text = f"{costs[0]:.1f} : {costs[1]:.1f} s"
    print(f"| the hub's processor time for a GiB, with : without the firewall | {text} | {cost:.2f} | {COST_LIMIT:g} |")
    return 0 if rate <= LIMIT and cost <= COST_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
