"""``make demo``: a consortium on this machine, from the first `genconf` to a hub that heals itself."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lab.consortium import TOOLS, Component, Hub, environment, kill
from lab.network import Host, Network, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

HUB, BROKER = "10.220.0.1", "10.220.0.2"
TOPIC = "consortium/demo"
MESSAGE = "model update 1 of node1"
LISTENING = """# Reachable inside the VPN only.
listener 1883 10.220.0.2
allow_anonymous true
"""


class Failed(Exception):
    """A step did not show what it should."""


class Demo:
    """The consortium and the steps, in their order."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        self.hub = Hub(network, folder / "hub")
        # The hospital has no address of its own in the internet, as most.
        inside, _ = network.nat_host("node1")
        self.members = {
            ("management", "mqtt"): Component(network.host("mqtt"), folder / "mqtt"),
            ("node", "node1"): Component(inside, folder / "node1"),
            ("researcher", "researcher1"): Component(network.host("researcher1"), folder / "researcher1"),
        }
        self.mqtt, self.node, self.researcher = self.members.values()

    def run(self) -> None:
        """All steps."""
        self.start_hub()
        self.join()
        self.publish()
        self.show_peers()
        self.remove_node()
        self.kill_boringtun()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print what comes, then how long it took."""
        self._number += 1
        say(f"\n{self._number}. {title}")
        started = time.monotonic()
        try:
            yield
        except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError, Failed) as error:
            raise Failed(f"step {self._number} ({title}) failed: {' '.join(str(error).split())[:600]}") from error
        say(f"   -- {time.monotonic() - started:.1f} s")

    def start_hub(self) -> None:
        """The hub, with a wg0 that boringtun carries."""
        with self.step("The hub starts"):
            typed(self.hub.host, "vpn_server.py")
            self.hub.start()
            (ready,) = re.findall(r"ready: .*", self.hub.log.read_text())
            said(ready)

    def join(self) -> None:
        """The procedure: genconf, copy, start, public key, add, ping."""
        with self.step("mqtt, node1 (behind a NAT) and researcher1 join with nothing but their config.env"):
            for (peer_type, peer_id), component in self.members.items():
                typed(self.hub.host, f"configure_peer.py genconf {peer_type} {peer_id}")
                said(self.hub.configure("genconf", peer_type, peer_id).stdout.splitlines()[0])
                source = self.hub.folder / "config_peers" / peer_type / peer_id / "config.env"
                typed(self.hub.host, f"(copy config_peers/{peer_type}/{peer_id}/config.env to {peer_id})")
                shutil.copy(source, component.folder / "config.env")
            configuration = self.folder / "mosquitto.conf"
            configuration.write_text(LISTENING)
            for component in self.members.values():
                application = ["mosquitto", "-c", str(configuration)] if component is self.mqtt else []
                # The broker, being the component's application, runs as its own user.
                user = {"CONTAINER_USER": "mosquitto"} if application else {}
                typed(component.host, "vpn_client.py run" + (" -- mosquitto -c mosquitto.conf" if application else ""))
                component.start(*application, environ=user)
            for (peer_type, peer_id), component in self.members.items():
                key = component.public_key()
                typed(component.host, "vpn_client.py public-key")
                said(key)
                typed(self.hub.host, f"configure_peer.py add {peer_type} {peer_id} {key}")
                said(self.hub.configure("add", peer_type, peer_id, key).stdout.strip())
            for component in self.members.values():
                component.wait_joined()
                typed(component.host, f"ping -c 3 {HUB}")
                answer = component.host.run(["ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", HUB]).stdout
                said(one(r"\d packets transmitted.*", answer))

    def publish(self) -> None:
        """A message from the node to the researcher, by the broker inside the VPN."""
        with self.step(f"node1 publishes through the broker at {BROKER}:1883, researcher1 receives"):
            wait_until(lambda: "1883" in self.mqtt.host.run(["ss", "-ltn"]).stdout, 10, "mosquitto listens")
            received = self.folder / "received"
            to_broker = ["-h", BROKER, "-p", "1883", "-t", TOPIC]
            typed(self.researcher.host, f"mosquitto_sub -h {BROKER} -t {TOPIC}")
            # -d says when the broker has taken the subscription; a line at a time, though into a file.
            command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-C", "1", *to_broker]
            subscriber = self.researcher.host.start(command, log=received)
            wait_until(lambda: "SUBACK" in received.read_text(), 10, "researcher1 subscribes")
            typed(self.node.host, f"mosquitto_pub -h {BROKER} -t {TOPIC} -m '{MESSAGE}'")
            started = time.monotonic()
            self.node.host.run(["mosquitto_pub", *to_broker, "-m", MESSAGE])
            subscriber.wait(10)
            lines = received.read_text().splitlines()
            if MESSAGE not in lines:
                raise Failed(f"researcher1 received {lines}")
            typed(self.researcher.host, f"received after {(time.monotonic() - started) * 1000:.0f} ms:")
            said(MESSAGE)

    def show_peers(self) -> None:
        """Peers, handshake ages and traffic."""
        with self.step("The hub's table of peers"):
            typed(self.hub.host, "configure_peer.py list")
            said(self.hub.configure("list").stdout)

    def remove_node(self) -> None:
        """The ping of a removed component stops; it was running all the time."""
        with self.step("node1 is removed while it pings the broker"):
            log = self.folder / "ping"
            typed(self.node.host, f"ping -i 0.1 {BROKER}")
            ping = self.node.host.start(["ping", "-n", "-D", "-O", "-i", "0.1", BROKER], log=log)
            wait_until(lambda: len(replies(log)) >= 10, 10, "node1 pings the broker")
            started = time.time()
            answer = self.hub.configure("remove", "node", "node1").stdout.splitlines()[0]
            done = time.time()
            typed(self.hub.host, "configure_peer.py remove node node1")
            said(f"{answer} ({(done - started) * 1000:.0f} ms)")
            wait_until(lambda: len(unanswered(log, done)) >= 15, 10, "the ping goes unanswered")
            ping.send_signal(signal.SIGINT)
            ping.wait(5)
            before = [line for moment, line in replies(log) if moment <= done]
            after = len(replies(log)) - len(before)
            typed(self.node.host, "the last replies, and what came then:")
            said("\n".join([*before[-2:], *unanswered(log, done)[:2]]))
            said(f"{len(before)} replies until `remove` had answered, {after} after that")
            if after:
                raise Failed("the removed node was answered")

    def kill_boringtun(self) -> None:
        """SIGKILL for the daemon that carries the hub's wg0; nobody touches anything."""
        with self.step("The hub's boringtun is killed"):
            wait_until(lambda: self.hub.remembers(2), 10, "the hub has saved where its peers are")
            pid = self.hub.daemon_pid()
            typed(self.hub.host, f"kill -9 {pid}")
            started = time.monotonic()
            kill(pid)
            for component in (self.mqtt, self.researcher):
                component.wait_joined(30)
                said(f"{component.host.name} is answered again after {time.monotonic() - started:.2f} s")
            said(f"the hub has replaced boringtun: process {self.hub.daemon_pid()}")
            if self.node.ping():
                raise Failed("node1 is back, though it was removed")
            said("node1, which was removed, stays out; nobody else was touched")


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def typed(host: Host, command: str) -> None:
    """What a person would type there."""
    say(f"   {host.name}# {command}")


def said(text: str) -> None:
    """What comes back."""
    for line in text.splitlines():
        say(f"      {line}")


def one(pattern: str, text: str) -> str:
    """The first match."""
    found = re.search(pattern, text)
    if found is None:
        raise Failed(f"no {pattern!r} in {text!r}")
    return found.group()


def replies(log: Path) -> list[tuple[float, str]]:
    """When each reply came (Unix time), and its line."""
    found = re.findall(r"^\[([\d.]+)\] (\d+ bytes from .*)$", log.read_text(), re.MULTILINE)
    return [(float(moment), line) for moment, line in found]


def unanswered(log: Path, since: float) -> list[str]:
    """The lines about echoes without an answer after a moment."""
    found = re.findall(r"^\[([\d.]+)\] (no answer yet .*)$", log.read_text(), re.MULTILINE)
    return [line for moment, line in found if float(moment) > since]


def explain(demo: Demo, network: Network) -> None:
    """How to look around in what is left running, and how to end it."""
    path = f"{TOOLS}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    say("\nIt goes on (KEEP=1). A shell on a host, with configure_peer or vpn_client on its PATH:")
    for host, folder in ((demo.hub.host, demo.hub.folder), *((c.host, c.folder) for c in demo.members.values())):
        variables = [f"VPN_CONFIG_DIR={folder}", f"PATH={path}", f"PS1={host.name}# "]
        say(f"\n  {shlex.join(host.enter(['env', *variables, 'bash', '--norc']))}")
    say("\nThere: `configure_peer list`, `wg show`, `ping 10.220.0.1`, `cat $VPN_CONFIG_DIR.log`. To end it all:\n")
    pids = " ".join(map(str, network.pids()))
    say(f"  kill {pids}; sleep 3; rm -r {shlex.quote(str(demo.folder))}\n")


def interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM cleans up as Ctrl-C does, and Ctrl-C does even where it was ignored (started with `&`)."""
    raise KeyboardInterrupt


def main() -> int:
    """Entry point: 0 when all was shown, 1 with one line on stderr when not."""
    if os.geteuid() != 0:
        print("make demo makes network namespaces: run it as root (sudo make demo)", file=sys.stderr)
        return 1
    keep = os.environ.get("KEEP", "") not in ("", "0")
    started = time.monotonic()
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    folder = Path(tempfile.mkdtemp(prefix="vpn-demo-"))
    # The broker's user has to reach its configuration; the state folders in here are closed.
    folder.chmod(0o711)
    network = None
    try:
        say("A consortium on this machine: four hosts in network namespaces, and the internet between them.")
        network = Network(environment(), lasting=keep)
        demo = Demo(network, folder)
        demo.run()
        say(f"\nAll of it in {time.monotonic() - started:.1f} s.")
        if keep:
            explain(demo, network)
            network, folder = None, None  # type: ignore[assignment]
        return 0
    except (Failed, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    finally:
        # What is half ended would stay for good: the end cannot be interrupted.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if network is not None:
            network.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
