"""Starting and stopping the real daemons, on a host of their own."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import ROOT, environment
from lab.network import Host, end, wait_until
from vpn.lib.errors import DeviceError
from vpn.lib.wireguard.daemons import DAEMONS, Daemon, Dialect
from vpn.lib.wireguard.process import DaemonProcess, check_udp_port_free

if TYPE_CHECKING:
    from collections.abc import Iterator

PRELUDE = f"""
import os, signal, socket, sys, time
sys.path.insert(0, {str(ROOT)!r})
from vpn.lib.errors import DeviceError
from vpn.lib.wireguard.daemons import DAEMONS, Daemon, Dialect
from vpn.lib.wireguard.process import DaemonProcess
SOCKET = "/run/wireguard/wg0.sock"
"""


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with a /run/wireguard of its own."""
    host = Host("process", environment())
    try:
        yield host
    finally:
        host.close()


def on(host: Host, script: str) -> list[str]:
    """Run Python on the host; the lines that it prints."""
    return host.run([sys.executable, "-c", PRELUDE + script]).stdout.splitlines()


@pytest.mark.system
@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_starts_answers_and_stops_without_a_trace(host: Host, name: str) -> None:
    script = f"""
process = DaemonProcess(DAEMONS[{name!r}], "wg0", os.environ)
print(process.alive, process.pid)
process.start()
print(process.alive, process.device.read().peers, os.path.exists(SOCKET), "wg0" in dict(socket.if_nameindex()).values())
pid = process.pid
process.stop()
print(process.alive, process.pid, process.pidfd, os.path.exists(SOCKET), os.path.exists(f"/proc/{{pid}}"))
process.start()
print(process.alive)
process.stop()
"""
    assert on(host, script) == ["False None", "True {} True True", "False None None False False", "True"]


@pytest.mark.system
@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_dies_with_its_parent(host: Host, name: str) -> None:
    script = f"""
process = DaemonProcess(DAEMONS[{name!r}], "wg0", os.environ)
process.start()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = host.run([sys.executable, "-c", PRELUDE + script], check=False)
    pid = int(done.stdout)
    wait_until(lambda: not running(pid), 10, "the daemon is gone")
    # What it left behind does not keep the next one from starting.
    again = f"""
process = DaemonProcess(DAEMONS[{name!r}], "wg0", os.environ)
process.start()
print(process.alive)
process.stop()
"""
    assert on(host, again) == ["True"]


def running(pid: int) -> bool:
    """Whether a process runs; a dead one may wait for its new parent to take note of it."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.system
@pytest.mark.parametrize("name", DAEMONS)
def test_a_stopped_daemon_is_ended_all_the_same_and_its_death_is_seen(host: Host, name: str) -> None:
    script = f"""
import select
process = DaemonProcess(DAEMONS[{name!r}], "wg0", os.environ)
process.start()
pid = process.pid
os.kill(pid, signal.SIGSTOP)
process.stop(patience=0.2)
print(os.path.exists(f"/proc/{{pid}}"))
process.start()
os.kill(process.pid, signal.SIGKILL)
print(bool(select.select([process.pidfd], [], [], 10)[0]), process.alive)
process.stop()
"""
    assert on(host, script) == ["False", "True False"]


@pytest.mark.system
def test_a_second_daemon_for_an_interface_is_refused_and_the_first_goes_on(host: Host) -> None:
    script = """
first = DaemonProcess(DAEMONS["boringtun"], "wg0", os.environ)
first.start()
second = DaemonProcess(DAEMONS["gotatun"], "wg0", os.environ)
try:
    second.start()
except DeviceError as error:
    print(error)
print(second.pid, first.device.read().peers)
first.stop()
"""
    problem, state = on(host, script)
    assert "already serves wg0" in problem
    assert state == "None {}"


@pytest.mark.system
def test_a_program_that_ends_at_once_is_told_with_its_status(host: Host, tmp_path: Path) -> None:
    program = tmp_path / "endless"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    script = f"""
daemon = Daemon("short", ("endless",), (), (), Dialect(False, True))
process = DaemonProcess(daemon, "wg0", {{"PATH": {str(tmp_path)!r} + ":" + os.environ["PATH"]}})
try:
    process.start()
except DeviceError as error:
    print(error)
print(process.alive, process.pid, process.pidfd)
"""
    problem, state = on(host, script)
    assert "short ended at its start (status 7)" in problem
    assert state == "False None None"


def test_a_program_that_is_not_there_is_named_with_its_alternative(tmp_path: Path) -> None:
    daemon = Daemon("some", ("new-name", "old-name"), (), (), Dialect(handshake_is_age=False, updates_in_place=True))
    process = DaemonProcess(daemon, "vpntest9", {"PATH": str(tmp_path)})
    with pytest.raises(DeviceError, match=r"some is not installed.*new-name or old-name.*VPN_WIREGUARD"):
        process.start()
    assert not process.alive


def test_a_process_that_was_never_started_can_be_stopped() -> None:
    process = DaemonProcess(DAEMONS["boringtun"], "vpntest9", {})
    process.stop()
    assert (process.alive, process.pid, process.pidfd) == (False, None, None)


def free_port() -> int:
    """A UDP port that was free a moment ago, for both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def test_a_free_port_is_free_and_stays_so() -> None:
    port = free_port()
    check_udp_port_free(port)
    check_udp_port_free(port)


@pytest.mark.parametrize(
    ("family", "address", "named"),
    [
        (socket.AF_INET, "127.0.0.1", "IPv4"),
        (socket.AF_INET, "0.0.0.0", "IPv4"),
        (socket.AF_INET6, "::1", "IPv6"),
    ],
)
def test_a_port_that_is_taken_is_named(family: socket.AddressFamily, address: str, named: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as taker:
        # boringtun's own socket has it too, and another such socket would share the port in silence.
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind((address, 0))
        port = taker.getsockname()[1]
        with pytest.raises(DeviceError, match=rf"UDP port {port} is in use \({named}\)"):
            check_udp_port_free(port)
    check_udp_port_free(port)


@pytest.mark.system
@pytest.mark.parametrize("name", DAEMONS)
def test_the_port_of_a_running_daemon_is_taken(host: Host, name: str) -> None:
    script = f"""
from vpn.lib.wireguard.keys import PrivateKey
from vpn.lib.wireguard.plan import Plan
from vpn.lib.wireguard.process import check_udp_port_free
process = DaemonProcess(DAEMONS[{name!r}], "wg0", os.environ)
process.start()
check_udp_port_free(51820)
process.device.apply(Plan(PrivateKey.generate(), 51820))
# boringtun opens its port when the interface comes up.
os.system("ip link set wg0 up")
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    try:
        check_udp_port_free(51820)
    except DeviceError as error:
        print(error)
        break
process.stop()
"""
    (problem,) = on(host, script)
    assert "51820 is in use" in problem


@pytest.mark.system
def test_a_socket_that_hangs_is_not_taken_away(host: Host) -> None:
    """Its daemon may only be busy: a second one beside it would be two hubs with one key."""
    listening = (
        "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('/run/wireguard/wg0.sock'); s.listen();"
        " time.sleep(600)"
    )
    holder = host.start([sys.executable, "-c", listening])
    path = Path(f"/proc/{host.pid}/root/run/wireguard/wg0.sock")
    wait_until(lambda: connects(path), 10, "the socket listens")
    script = """
try:
    DaemonProcess(DAEMONS["boringtun"], "wg0", os.environ).start()
except DeviceError as error:
    print(error)
print(os.path.exists(SOCKET))
"""
    problem, there = on(host, script)
    assert "already serves" in problem
    assert there == "True"
    end(holder)
    assert os.path.lexists(path), "a stale socket is left"
    assert on(host, script) == ["True"], "a stale socket is in nobody's way"


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
