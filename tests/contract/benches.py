"""Every implementation of a device, ready for a test: the device, and what a test may do to its world."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from pyroute2.netlink import NETLINK_GENERIC, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE
from pyroute2.netlink.generic.wireguard import WG_CMD_GET_DEVICE, wgmsg

from lab.consortium import environment
from lab.network import Host, patience, wait_until
from tests.fakes.netlink import FakeKernel
from tests.fakes.uapi_daemons import FAKE_DAEMONS
from tests.fakes.uapi_server import UapiServer
from vpn.lib.errors import DeviceError
from vpn.lib.wireguard.daemons import DAEMONS, Daemon
from vpn.lib.wireguard.kernel import KernelDevice, connect_wireguard
from vpn.lib.wireguard.userspace import UserspaceDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vpn.lib.wireguard.device import Device

PATIENCE = patience(10.0)
"""Seconds that a busy machine may take for one answer."""


def kernel_has_wireguard() -> bool:
    """Whether this machine's kernel makes a WireGuard interface, tried in a namespace that goes at once."""
    trial = ["unshare", "--net", "ip", "link", "add", "wg0", "type", "wireguard"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


KERNELS = ("kernel",) if kernel_has_wireguard() else ()
"""What there is of the kernel's device on this machine."""

REAL = [
    *(pytest.param(name, marks=pytest.mark.system) for name in DAEMONS),
    *(pytest.param(name, marks=[pytest.mark.system, pytest.mark.kernel]) for name in KERNELS),
]
"""The implementations that this machine can run, as a test's parameters."""


class Bench(Protocol):
    """A device to test."""

    @property
    def device(self) -> Device:
        """The device, without key and peers at first."""
        ...

    def absent(self) -> Device:
        """A device that is not there."""
        ...

    def occupy(self, port: int) -> None:
        """Let something else listen on a UDP port."""
        ...


class FakeKernelBench:
    """The kernel's device on the fake kernel."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        # Small messages, so that every dump of more than a few peers comes in pieces.
        self.kernel.message_peers, self.kernel.message_networks = 3, 2
        # Its port is a socket only while it is up.
        self.kernel.add_interface("wg0", "wireguard").up = True
        self.device = KernelDevice("wg0", self.kernel.wireguard)

    def absent(self) -> Device:
        """A device that is not there."""
        return KernelDevice("wg1", self.kernel.wireguard)

    def occupy(self, port: int) -> None:
        """Let something else listen on a UDP port."""
        self.kernel.ports_in_use.add(port)

    @contextmanager
    def dump(self) -> Iterator[Iterator[bytes]]:
        """A dump of the device, message by message."""
        with self.kernel.wireguard() as netlink:
            yield (bytes(message.data) for message in netlink.info("wg0"))


class FakeDaemonBench:
    """A daemon's device on the fake server."""

    def __init__(self, daemon: Daemon, server: UapiServer) -> None:
        self.daemon = daemon
        self.server = server
        self.path = server.path
        self.device = UserspaceDevice("wg0", daemon.dialect, path=str(server.path), time_limit=PATIENCE)

    def absent(self) -> Device:
        """A device that is not there."""
        return UserspaceDevice("wg1", self.daemon.dialect, path=str(self.path.with_name("wg1.sock")))

    def hurried(self) -> Device:
        """The device with a short time limit."""
        return UserspaceDevice("wg0", self.daemon.dialect, path=str(self.path), time_limit=0.3)

    def freeze(self) -> None:
        """Let the daemon hang."""
        self.server.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self.server.thaw()

    def occupy(self, port: int) -> None:
        """Let something else listen on a UDP port."""
        self.server.daemon.ports_in_use.add(port)


class RealBench:
    """A device in namespaces of its own."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def occupy(self, port: int) -> None:
        """Let something else listen on a UDP port, in the host's network."""
        program = (
            "import socket, time\n"
            "sockets = []\n"
            f"for family in ({int(socket.AF_INET)}, {int(socket.AF_INET6)}):\n"
            "    one = socket.socket(family, socket.SOCK_DGRAM)\n"
            "    if family != socket.AF_INET:\n"
            "        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
            f"    one.bind(('', {port}))\n"
            "    sockets.append(one)\n"
            "time.sleep(600)\n"
        )
        self.host.start(["python3", "-c", program])
        listening = ["ss", "-Hlun", f"sport = :{port}"]
        wait_until(lambda: self.host.run(listening).stdout.count(f":{port}") >= 2, PATIENCE, "the port is taken")


class RealDaemonBench(RealBench):
    """A daemon's device on the program, in namespaces of its own."""

    def __init__(self, daemon: Daemon, host: Host) -> None:
        super().__init__(host)
        self.daemon = daemon
        self.process = host.start([daemon.programs[0], *daemon.arguments, "wg0"], environ=dict(daemon.environment))
        # The host's /run/wireguard is private to its mount namespace.
        self.path = Path(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")
        self.device = UserspaceDevice("wg0", daemon.dialect, path=str(self.path), time_limit=PATIENCE)
        wait_until(self._answers, PATIENCE, f"{daemon.name} answers")

    def absent(self) -> Device:
        """A device that is not there."""
        return UserspaceDevice("wg1", self.daemon.dialect, path=str(self.path.with_name("wg1.sock")))

    def hurried(self) -> Device:
        """The device with a short time limit."""
        return UserspaceDevice("wg0", self.daemon.dialect, path=str(self.path), time_limit=0.3)

    def freeze(self) -> None:
        """Let the daemon hang."""
        os.kill(self.process.pid, signal.SIGSTOP)
        # Its threads stop one by one; the kernel reports it once all have.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            self.device.read()
        except DeviceError:
            return False
        return True


class RealKernelBench(RealBench):
    """This machine's kernel's device."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        host.run(["ip", "link", "add", "wg0", "type", "wireguard"])
        host.run(["ip", "link", "set", "wg0", "up"])
        self.device = KernelDevice("wg0", self._connect)

    def absent(self) -> Device:
        """A device that is not there."""
        return KernelDevice("wg1", self._connect)

    @contextmanager
    def dump(self) -> Iterator[Iterator[bytes]]:
        """A dump of the device, message by message: the kernel goes on with it as it is received."""
        with self._connect() as netlink:
            request = wgmsg()
            request["cmd"] = WG_CMD_GET_DEVICE
            request["attrs"] = [("WGDEVICE_A_IFNAME", "wg0")]
            request["header"].update(type=netlink.prid, flags=NLM_F_REQUEST | NLM_F_DUMP, sequence_number=1)
            request.encode()
            with self._in_host(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)) as raw:
                raw.bind((0, 0))
                raw.send(request.data)
                raw.settimeout(PATIENCE)
                yield _until_done(raw)

    def _connect(self) -> Any:
        return self._in_host(connect_wireguard)

    def _in_host(self, make: Callable[[], Any]) -> Any:
        """A socket in the host's network: it stays where it was made, and this thread comes back."""
        with open("/proc/thread-self/ns/net", "rb") as own, open(f"/proc/{self.host.pid}/ns/net", "rb") as there:
            _enter(there.fileno())
            try:
                return make()
            finally:
                _enter(own.fileno())


def _until_done(raw: socket.socket) -> Iterator[bytes]:
    """Each netlink message before the one that ends a dump; several may be received at once (netlink(7))."""
    while True:
        received = raw.recv(16384)
        while received:
            length, kind = struct.unpack_from("=IH", received)
            if kind == NLMSG_DONE:
                return
            yield received[:length]
            received = received[(length + 3) & ~3 :]


def _enter(namespace: int) -> None:
    """setns(2), which this Python does not offer."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


DaemonBench = FakeDaemonBench | RealDaemonBench
AnyBench = FakeKernelBench | FakeDaemonBench | RealDaemonBench | RealKernelBench


@contextmanager
def fake_daemon(name: str) -> Iterator[FakeDaemonBench]:
    """A fake daemon, whose socket is in a folder of its own."""
    # A path of at most 107 bytes fits a Unix socket; pytest's folders may be longer.
    with tempfile.TemporaryDirectory() as folder, UapiServer(Path(folder) / "wg0.sock", FAKE_DAEMONS[name]()) as server:
        yield FakeDaemonBench(DAEMONS[name], server)


@contextmanager
def real_daemon(name: str) -> Iterator[RealDaemonBench]:
    """A real daemon, on a host of its own."""
    with ExitStack() as stack:
        host = Host(name, environment())
        stack.callback(host.close)
        yield RealDaemonBench(DAEMONS[name], host)


@contextmanager
def real_kernel() -> Iterator[RealKernelBench]:
    """The kernel's device, on a host of its own."""
    with ExitStack() as stack:
        host = Host("kernel", environment())
        stack.callback(host.close)
        yield RealKernelBench(host)


@contextmanager
def bench(name: str) -> Iterator[AnyBench]:
    """By the id of a test's parameter."""
    if name == "fake-kernel":
        yield FakeKernelBench()
        return
    if name == "kernel":
        with real_kernel() as kernel:
            yield kernel
        return
    maker = fake_daemon if name.startswith("fake-") else real_daemon
    with maker(name.removeprefix("fake-")) as made:
        yield made
