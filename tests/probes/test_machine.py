"""What is seen of this machine: locks, sockets, interfaces, devices."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vpn.lib.probes import machine

if TYPE_CHECKING:
    from pathlib import Path


def test_whoever_holds_a_lock_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert machine.holder(path) is None
    path.touch()
    assert machine.holder(path) is None
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.holder(path) == os.getpid()
    assert machine.holder(path) is None


def test_a_lock_of_somebody_unseen_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    monkeypatch.setattr(machine, "_flocks", list)
    with path.open("w") as lock:
        assert machine.holder(path) is None
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.holder(path) == machine.UNKNOWN_PID
    # As a file system in layers shows it: another device, the same inode.
    monkeypatch.setattr(machine, "_flocks", lambda: [(77, "ff:01", path.stat().st_ino)])
    assert machine.holder(path) is None
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert machine.holder(path) == 77


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_whoever_has_a_udp_port_is_named(family: int, address: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((address, 0))
        port = bound.getsockname()[1]
        (holder,) = machine.udp_holders(port)
    assert (holder.pid, holder.user) == (os.getpid(), os.geteuid())
    assert holder.program
    assert machine.udp_holders(port) == set()


def test_children_and_command_lines_are_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "x y"], stdin=subprocess.PIPE) as child:
        assert child.pid in machine.children(os.getpid())
        assert machine.arguments(child.pid)[-2:] == ["input()", "x y"]
        assert machine.user(child.pid) == os.geteuid()
        child.communicate(b"\n")
    assert child.pid not in machine.children(os.getpid())
    assert machine.arguments(child.pid) == []
    assert machine.user(child.pid) is None


def test_an_interface_with_its_address() -> None:
    loopback = machine.interface("lo")
    assert loopback is not None
    assert loopback.up
    assert str(loopback.address) == "127.0.0.1/8"
    assert machine.interface("none0") is None


def test_what_is_no_tun_device_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tun"
    problem = machine.tun_problem(path)
    assert problem is not None
    assert problem.errno == errno.ENOENT
    path.touch()
    problem = machine.tun_problem(path)
    assert problem is not None
    assert problem.errno == errno.ENOTTY
