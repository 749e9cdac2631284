"""Hosts in network and mount namespaces, joined by a router that stands for the internet."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PREFIX = "198.18"
"""The hosts' networks: 198.18.N.0/24, reserved for testing of networks (RFC 2544)."""


def patience(seconds: float) -> float:
    """Seconds to wait on this machine: LAB_PATIENCE says how many times as long as on an ordinary one."""
    return seconds * float(os.environ.get("LAB_PATIENCE", "1"))


class Host:
    """A namespace pair (network, mount) that a sleeping process holds open.

    Its ``/run/wireguard`` is its own, so each host can have a ``wg0`` with a UAPI socket.
    """

    def __init__(self, name: str, environ: Mapping[str, str], *, lasting: bool = False) -> None:
        self.name = name
        self.environ = dict(environ)
        # What is started here ends with its starter, however that ends.
        self._death = [] if lasting else ["setpriv", "--pdeathsig", "KILL"]
        setup = (
            "mkdir -p /run/wireguard && mount -t tmpfs -o mode=0755 vpnlab /run/wireguard && ip link set lo up"
            " && sysctl -qw net.ipv6.conf.all.accept_dad=0 && echo ready && exec sleep infinity"
        )
        self._holder = subprocess.Popen(
            [*self._death, "unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", setup],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=self.environ,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"host {name} could not be made; are you root?")
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The process that holds the namespaces."""
        return self._holder.pid

    def pids(self) -> list[int]:
        """All processes on this host, the holder too."""
        space = os.stat(f"/proc/{self.pid}/ns/net").st_ino
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                with suppress(OSError):
                    if os.stat(f"/proc/{entry}/ns/net").st_ino == space:
                        found.append(int(entry))
        return found

    def enter(self, command: Sequence[str]) -> list[str]:
        """The command line that runs ``command`` on this host."""
        space = f"/proc/{self.pid}/ns"
        return ["nsenter", f"--net={space}/net", f"--mount={space}/mnt", "--", *command]

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - as subprocess names it
        timeout: float = 60,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. With ``check``, RuntimeError with its output when it fails."""
        done = subprocess.run(
            self.enter(command),
            capture_output=True,
            text=True,
            input=input,
            timeout=patience(timeout),
            env={**self.environ, **(environ or {})},
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(
                f"{self.name}: {' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done

    def start(
        self, command: Sequence[str], *, log: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command that goes on; ``log`` gets its output. It ends with the host."""
        output: IO[bytes] | int = subprocess.DEVNULL if log is None else log.open("ab")
        process = subprocess.Popen(
            [*self._death, *self.enter(command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**self.environ, **(environ or {})},
            start_new_session=True,
        )
        if not isinstance(output, int):
            output.close()
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End what runs here, what that left behind, and the host: nothing of it has to end well.

        Done a second time, it does nothing.
        """
        if self._holder.returncode is not None:
            return
        while others := [pid for pid in self.pids() if pid != self.pid]:
            for pid in others:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            # What we started leaves the list when it is waited for, the rest is init's.
            for process in self._processes:
                process.poll()
            time.sleep(0.005)
        for process in self._processes:
            process.wait()
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()


def end(process: subprocess.Popen[bytes], seconds: float = 3.0) -> None:
    """SIGTERM, then SIGKILL for the process and all of its session."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(patience(seconds))
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Network:
    """A router and the hosts around it. Use as a context manager.

    The router forwards between all hosts. Host number N has the address 198.18.N.2.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, lasting: bool = False) -> None:
        if os.geteuid() != 0:
            raise PermissionError("network namespaces need root")
        self._environ = dict(environ if environ is not None else os.environ)
        self._lasting = lasting
        self._stack = ExitStack()
        self._count = 0
        self._hosts: list[Host] = []
        self.router = self._host("router")
        self.router.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all hosts."""
        self._stack.close()

    def pids(self) -> list[int]:
        """All processes on all hosts, the holders too."""
        return [pid for host in self._hosts for pid in host.pids()]

    def host(self, name: str, environ: Mapping[str, str] | None = None) -> Host:
        """A new host behind the router, with a default route through it."""
        host = self._host(name, environ)
        self.attach(host)
        return host

    def nat_host(self, name: str, environ: Mapping[str, str] | None = None) -> tuple[Host, Host]:
        """A host with a private address behind a NAT of its own: (host, NAT)."""
        nat = self.host(f"{name}-nat")
        inside = self._host(name, environ)
        nat.run(["ip", "link", "add", "inside", "type", "veth", "peer", "name", "eth0", "netns", str(inside.pid)])
        nat.run(["ip", "address", "add", "192.168.7.1/24", "dev", "inside"])
        nat.run(["ip", "link", "set", "inside", "up"])
        nat.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        rules = "table ip lab { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }"
        nat.run(["nft", "-f", "-"], input=rules)
        inside.run(["ip", "address", "add", "192.168.7.2/24", "dev", "eth0"])
        inside.run(["ip", "link", "set", "eth0", "up"])
        inside.run(["ip", "route", "add", "default", "via", "192.168.7.1"])
        return inside, nat

    def attach(self, host: Host, *, device: str = "eth0") -> str:
        """Connect the host to the router with a new network; its address there."""
        number = self._count = self._count + 1
        port, network = f"port{number}", f"{PREFIX}.{number}"
        script = [
            f"link add {port} type veth peer name {device} netns {host.pid}",
            f"address add {network}.1/24 dev {port}",
            f"address add fd18::{number:x}:1/112 dev {port} nodad",
            f"link set {port} up",
        ]
        self.router.run(["ip", "-batch", "-"], input="\n".join(script))
        script = [
            f"address add {network}.2/24 dev {device}",
            f"address add fd18::{number:x}:2/112 dev {device} nodad",
            f"link set {device} up",
            f"route replace default via {network}.1",
            f"route replace ::/0 via fd18::{number:x}:1",
        ]
        host.run(["ip", "-batch", "-"], input="\n".join(script))
        return f"{network}.2"

    def detach(self, host: Host, *, device: str = "eth0") -> None:
        """Take a host's interface away, and with it its address."""
        host.run(["ip", "link", "del", device])

    def _host(self, name: str, environ: Mapping[str, str] | None = None) -> Host:
        host = Host(name, {**self._environ, **(environ or {})}, lasting=self._lasting)
        self._hosts.append(host)
        self._stack.callback(host.close)
        return host


def wait_until(condition: object, seconds: float, what: str, *, pause: float = 0.02) -> float:
    """Call ``condition`` until it is true; the seconds that it took. TimeoutError after ``patience(seconds)``."""
    assert callable(condition)
    seconds = patience(seconds)
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return time.monotonic() - started
