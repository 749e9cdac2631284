"""A WireGuard daemon's device, reached through its UAPI socket."""

from __future__ import annotations

import itertools
import os
import socket
import time
from typing import TYPE_CHECKING, TypeVar

from vpn.lib.errors import DeviceError, DeviceMissing, DeviceTimeout
from vpn.lib.wireguard import uapi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vpn.lib.wireguard.daemons import Dialect
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.plan import Plan
    from vpn.lib.wireguard.types import ObservedDevice, WantedPeer

_Item = TypeVar("_Item")

SOCKET_FOLDER = "/var/run/wireguard"
"""Where every userspace implementation puts ``INTERFACE.sock`` (www.wireguard.com/xplatform/)."""

BATCH = 500
"""Peers a request: 2.5 times as fast as one request a peer, and well below any limit of the daemons."""

TIME_LIMIT = 3.0
"""Seconds that a daemon may be silent in the middle of an exchange before it counts as hung."""


def socket_path(interface: str) -> str:
    """The path of the interface's UAPI socket."""
    return f"{SOCKET_FOLDER}/{interface}.sock"


class UserspaceDevice:
    """Device over a UAPI socket. One connection a request: boringtun resets a second one.

    ``dialect`` says what this daemon does differently, ``path`` is its socket, ``time_limit`` seconds,
    ``clock`` gives Unix time.
    """

    def __init__(
        self,
        interface: str,
        dialect: Dialect,
        *,
        path: str | None = None,
        time_limit: float = TIME_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._interface = interface
        self._dialect = dialect
        self._path = path or socket_path(interface)
        self._time_limit = time_limit
        self._clock = clock

    @property
    def interface(self) -> str:
        """The interface's name."""
        return self._interface

    def read(self) -> ObservedDevice:
        """What the device holds now."""
        answer = self._ask(uapi.GET)
        return uapi.parse_device(answer, handshake_is_age=self._dialect.handshake_is_age, now=self._clock())

    def holds(self, public_key: PublicKey) -> bool:
        """Whether the device knows this peer."""
        answer = self._ask(uapi.GET)
        uapi.check_errno(answer, "show its state")
        return b"\npublic_key=" + public_key.hex().encode() + b"\n" in b"\n" + answer

    def apply(self, plan: Plan) -> None:
        """Carry the plan out: removals by themselves and before anything that may take their addresses."""
        for batch in _batches(plan.remove):
            self._set(uapi.encode_remove(batch), "remove a peer")
        if plan.private_key is not None or plan.listen_port is not None:
            self._set(uapi.encode_interface(plan.private_key, plan.listen_port), "take its key and port")
        if self._dialect.updates_in_place:
            for peer in plan.update:
                self._set(uapi.encode_update(peer), "update a peer")
            self._add(plan.add)
        else:
            for batch in _batches([peer.public_key for peer in plan.update]):
                self._set(uapi.encode_remove(batch), "remove a peer")
            self._add((*plan.update, *plan.add))

    def _add(self, peers: tuple[WantedPeer, ...]) -> None:
        for _, alike in itertools.groupby(sorted(peers, key=uapi.stated_fields), key=uapi.stated_fields):
            for batch in _batches(alike):
                self._set(uapi.encode_peers(batch), "add a peer")

    def _set(self, request: bytes, doing: str) -> None:
        uapi.check_errno(self._ask(request), doing)

    def _ask(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(self._time_limit)
            chunks = []
            tail = b""
            try:
                connection.connect(self._path)
                connection.sendall(request)
                while not tail.endswith(uapi.END):
                    chunk = connection.recv(1 << 20)
                    if not chunk:
                        break
                    chunks.append(chunk)
                    tail = (tail + chunk)[-2:]
            except (TimeoutError, BlockingIOError) as error:
                # BlockingIOError: so many wait for it already that the socket takes no more.
                raise DeviceTimeout(
                    f"the WireGuard daemon of {self._interface} has been silent for {self._time_limit:.0f} s;"
                    " restart it"
                ) from error
            except (FileNotFoundError, ConnectionRefusedError) as error:
                raise DeviceMissing(f"no WireGuard daemon listens at {self._path}; start it") from error
            except PermissionError as error:
                raise DeviceError(f"{self._path}: permission denied; run this as root") from error
            except ConnectionError as error:
                reason = os.strerror(error.errno or 0)
                raise DeviceError(
                    f"the WireGuard daemon of {self._interface} broke off: {reason}; restart it"
                ) from error
        return b"".join(chunks)


def _batches(items: Iterable[_Item]) -> Iterable[tuple[_Item, ...]]:
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, BATCH)):
        yield batch
