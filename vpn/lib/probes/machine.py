"""What this machine has: processes that hold locks, capabilities, devices, interfaces, sockets."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

TUN = Path("/dev/net/tun")
_TUNGETFEATURES = 0x800454CF  # linux/if_tun.h
_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFMTU = 0x8913, 0x8915, 0x891B, 0x8921  # linux/sockios.h
_IFF_UP = 1
_CAP_NET_ADMIN = 12

UNKNOWN_PID = 0
"""A process that is there and cannot be named: of another namespace, or another user's."""


def holder(lock: Path) -> int | None:
    """The process that holds the flock on the file, UNKNOWN_PID where it cannot be named, None for nobody.

    Raises PermissionError where neither can be seen.
    """
    try:
        status = lock.stat()
    except FileNotFoundError:
        return None
    same_file = [(pid, device) for pid, device, inode in _flocks() if inode == status.st_ino]
    here = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    for pid, device in same_file:
        if device == here:
            return pid
    # A file system in layers shows other numbers there than here, and other namespaces' processes are left out.
    if not _held(lock):
        return None
    return same_file[0][0] if same_file else UNKNOWN_PID


def _flocks() -> list[tuple[int, str, int]]:
    """Process, device and inode of every flock that is held (proc(5), /proc/locks)."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK":  # one that waits has `->` there
                major, minor, inode = fields[5].split(":")
                found.append((int(fields[4]), f"{major}:{minor}", int(inode)))
    return found


def _held(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def may_administer_network(pid: int | None = None) -> bool:
    """Whether a process, or this one, has CAP_NET_ADMIN in effect."""
    text = Path(f"/proc/{pid or 'self'}/status").read_text()
    effective = next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_NET_ADMIN & 1)


def arguments(pid: int) -> list[str]:
    """The process's command line, empty where it cannot be seen."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def children(pid: int) -> dict[int, str]:
    """The names of a process's children, by process id."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError, IndexError, ValueError):
                name, _, rest = Path(f"/proc/{entry}/stat").read_text().partition("(")[2].rpartition(")")
                if int(rest.split()[1]) == pid and rest.split()[0] != "Z":
                    found[int(entry)] = name
    return found


def tun_problem(path: Path = TUN) -> OSError | None:
    """Why the device cannot be used: it is opened, and asked what it can do, which makes no interface.

    Raises PermissionError for others than root: who looks may have less rights than the daemon.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _TUNGETFEATURES, bytes(4))
        finally:
            os.close(descriptor)
    except OSError as error:
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            raise
        return error
    return None


class Interface(NamedTuple):
    """A network interface, with its first IPv4 address."""

    up: bool
    address: IPv4Interface | None
    mtu: int


def interface(name: str) -> Interface | None:
    """The interface of this name; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:

        def ask(request: int) -> bytes:
            return fcntl.ioctl(asker, request, struct.pack("16s24x", name.encode()))[16:]

        try:
            (flags,) = struct.unpack_from("=H", ask(_SIOCGIFFLAGS))
            (mtu,) = struct.unpack_from("=i", ask(_SIOCGIFMTU))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        try:
            address = IPv4Address(ask(_SIOCGIFADDR)[4:8])
            mask = IPv4Address(ask(_SIOCGIFNETMASK)[4:8])
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return Interface(bool(flags & _IFF_UP), None, mtu)
    return Interface(bool(flags & _IFF_UP), IPv4Interface(f"{address}/{mask}"), mtu)


class Holder(NamedTuple):
    """A process with a socket, and whose it is. Of the kernel's own sockets, and others' processes, only that is known.

    Root without CAP_SYS_PTRACE, as in a container, does not see into the processes of others either.
    """

    pid: int
    program: str
    user: int


def udp_holders(port: int) -> set[Holder]:
    """Who has a UDP socket on this port, whatever the address."""
    users = {}
    for table in ("udp", "udp6"):
        with suppress(FileNotFoundError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rpartition(":")[2], 16) == port:
                    users[fields[9]] = int(fields[7])
    owners = _socket_owners(users) if users else {}
    return {Holder(*owners.get(inode, (UNKNOWN_PID, "")), user) for inode, user in users.items()}


def user(pid: int) -> int | None:
    """The effective user of a process, None where it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next(int(line.split()[2]) for line in text.splitlines() if line.startswith("Uid:"))


def _socket_owners(inodes: Iterable[str]) -> dict[str, tuple[int, str]]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{entry}/fd"):
                with suppress(OSError):
                    inode = wanted.get(os.readlink(f"/proc/{entry}/fd/{descriptor}"))
                    if inode is not None:
                        found[inode] = int(entry), Path(f"/proc/{entry}/comm").read_text().strip()
    return found
