"""What the network answers: names, routes, UDP and TCP ports, echoes of decreasing size."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/in.h, linux/in6.h, linux/errqueue.h, linux/socket.h
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_MSG_ERRQUEUE = 0x2000
_FROM_ICMP = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6

_IP_HEADER, _ICMP_HEADER = 20, 8
_ECHO_REQUEST, _ECHO_REPLY = 8, 0

WIDTHS = (1420, 1400, 1380, 1340, 1300, 1280, 1200, 1000, 576)
"""Bytes of the whole IPv4 packets that are tried, the tunnel's MTU first; 576 passes everywhere (RFC 791)."""


def look_up(host: str) -> list[str]:
    """The addresses of a name; an address is itself. Raises socket.gaierror, and takes as long as the name server."""
    with suppress(ValueError):
        return [str(ip_address(host))]
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers if "%" not in str(address[0])))


def source_towards(address: str) -> str:
    """The address of this machine that packets to there come from. Nothing is sent. Raises OSError without a route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0])


class UdpAnswer(NamedTuple):
    """What came back from a UDP port: nothing (0), or an error number, and which machine sent it (empty: this one)."""

    error: int
    sender: str = ""


def udp(address: str, port: int, seconds: float = 1.0) -> UdpAnswer:
    """Send a datagram of one byte, twice. No WireGuard answers that: silence is what a port in use gives."""
    v6 = ":" in address
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Without it, a connected socket hears of refused ports only, not of hosts and networks that are unreachable.
        probe.setsockopt(*((socket.IPPROTO_IPV6, _IPV6_RECVERR) if v6 else (socket.IPPROTO_IP, _IP_RECVERR)), 1)
        probe.settimeout(seconds / 2)
        try:
            probe.connect((address, port))
            for _ in range(2):
                probe.send(b"\0")
                try:
                    probe.recv(2048)
                    return UdpAnswer(0)
                except TimeoutError:
                    continue
        except OSError as error:
            return UdpAnswer(error.errno or errno.EIO, _sender(probe))
    return UdpAnswer(0)


def _sender(probe: socket.socket) -> str:
    """Who sent the ICMP error that the socket has got; empty where none did (ip(7), IP_RECVERR)."""
    with suppress(OSError, struct.error, ValueError):
        _, messages, _, _ = probe.recvmsg(64, 512, _MSG_ERRQUEUE)
        for _, _, data in messages:
            _, origin, _, _, _, _, _, family = struct.unpack_from("=IBBBBIIH", data)
            if origin in _FROM_ICMP:
                place = (20, 4) if family == socket.AF_INET else (24, 16)
                return str(ip_address(bytes(data[place[0] : sum(place)])))
    return ""


def tcp(address: str, port: int, seconds: float = 2.0) -> int:
    """Connect; 0, or the error number. ETIMEDOUT is silence."""
    try:
        with socket.create_connection((address, port), seconds):
            return 0
    except TimeoutError:
        return errno.ETIMEDOUT
    except OSError as error:
        return error.errno or errno.EIO


def echoes(address: str, sizes: Sequence[int] = WIDTHS, seconds: float = 3.0) -> set[int]:
    """Those of these sizes of IPv4 packets, never fragmented, that an echo came back for; asked for twice.

    Raises PermissionError where this process may send no echoes (icmp(7), ping_group_range).
    """
    with _echo_socket() as probe:
        raw = probe.type == socket.SOCK_RAW
        # Without PROBE the kernel would cut what is larger than it believes the path takes.
        probe.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        probe.setblocking(False)
        answered: set[int] = set()
        for _ in range(2):
            for number, size in enumerate(sizes):
                if size not in answered:
                    # What is larger than the interface's own MTU is refused at once.
                    with suppress(BlockingIOError, OSError):
                        probe.sendto(_echo(number, size), (address, 0))
            answered |= _answers(probe, sizes, len(sizes) - len(answered), seconds / 2, raw=raw)
            if len(answered) == len(sizes):
                break
        return answered


def _echo_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    except PermissionError:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _echo(number: int, size: int) -> bytes:
    """An echo request; the kernel puts in identifier and checksum where the socket is no raw one."""
    data = bytes(size - _IP_HEADER - _ICMP_HEADER)
    identifier = os.getpid() & 0xFFFF
    words = sum(struct.unpack("!4H", struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, number)))
    checksum = ~((words & 0xFFFF) + (words >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, checksum, identifier, number) + data


def _answers(probe: socket.socket, sizes: Sequence[int], due: int, seconds: float, *, raw: bool) -> set[int]:
    found: set[int] = set()
    deadline = time.monotonic() + seconds
    while len(found) < due and (left := deadline - time.monotonic()) > 0:
        if not select.select([probe], [], [], left)[0]:
            break
        with suppress(OSError):
            packet = probe.recv(65536)
            message = packet[(packet[0] & 0xF) * 4 :] if raw else packet
            if len(message) < _ICMP_HEADER:
                continue
            kind, _, _, identifier, number = struct.unpack_from("!BBHHH", message)
            # A raw socket gets everybody's.
            ours = not raw or identifier == os.getpid() & 0xFFFF
            if kind == _ECHO_REPLY and ours and number < len(sizes):
                found.add(sizes[number])
    return found


def has_answered(address: str, port: int, table: Path = Path("/proc/net/nf_conntrack")) -> bool | None:
    """Whether anything ever came back of the UDP packets to there, as the kernel's connection tracking has seen it.

    None where that cannot be told.
    """
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    marks = (" udp ", f" dst={ip_address(address).exploded} ", f" dport={port} ")
    # The first of the two directions is the one that began.
    seen = [line for line in lines if all(mark in line[: _second(line)] + " " for mark in marks)]
    return any("[UNREPLIED]" not in line for line in seen) if seen else None


def _second(line: str) -> int:
    """Where the second direction begins in a line of connection tracking."""
    return line.find(" src=", line.find(" src=") + 1)
