"""A WireGuard daemon's device, reached through its UAPI socket."""

from __future__ import annotations

import itertools
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from vpn.lib.errors import DeviceError, DeviceMissing, DeviceTimeout
from vpn.lib.wireguard import uapi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
        line = b"public_key=" + public_key.hex().encode() + b"\n"
        # Not the end of boringtun's `own_public_key`; and no copy of what may be megabytes.
        return answer.startswith(line) or b"\n" + line in answer

    def apply(self, plan: Plan) -> None:
        """Carry the plan out: removals by themselves and before anything that may take their addresses."""
        interface_changes = plan.private_key is not None or plan.listen_port is not None
        if interface_changes and not self._dialect.rekeys:
            interface_changes = self._is_fresh(plan)
        for batch in _batches(plan.remove):
            self._set(uapi.encode_remove(batch), "remove a peer")
        if interface_changes:
            self._set(uapi.encode_interface(plan.private_key, plan.listen_port), "take its key and port")
        if self._dialect.updates_in_place:
            for peer in plan.update:
                self._set(uapi.encode_update(peer), "update a peer")
            self.add(plan.add)
        else:
            for batch in _batches([peer.public_key for peer in plan.update]):
                self._set(uapi.encode_remove(batch), "remove a peer")
            self.add((*plan.update, *plan.add))

    def _is_fresh(self, plan: Plan) -> bool:
        """Whether the device has no key yet. Raises DeviceError where it has one, or a port, that is not the plan's."""
        observed = self.read()
        if observed.public_key is None:
            return True
        if plan.private_key is not None and plan.private_key.public_key() != observed.public_key:
            changed = "key"
        elif plan.listen_port not in (None, observed.listen_port):
            changed = "port"
        else:
            return False
        raise DeviceError(
            f"the WireGuard daemon of {self._interface} takes no other {changed} while it runs; restart it"
        )

    def add(self, peers: Iterable[WantedPeer]) -> None:
        """Add peers that are not there; each request is prepared while the daemon works on the one before."""
        pending: socket.socket | None = None
        try:
            for batch in _alike(peers):
                request = uapi.encode_peers(batch)
                if pending is not None:
                    uapi.check_errno(self._receive(pending), "add a peer")
                pending = self._send(request)
            if pending is not None:
                uapi.check_errno(self._receive(pending), "add a peer")
        finally:
            if pending is not None:
                pending.close()

    def _set(self, request: bytes, doing: str) -> None:
        uapi.check_errno(self._ask(request), doing)

    def _ask(self, request: bytes) -> bytes:
        return self._receive(self._send(request))

    def _send(self, request: bytes) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with self._translated():
                connection.settimeout(self._time_limit)
                connection.connect(self._path)
                connection.sendall(request)
        except BaseException:
            connection.close()
            raise
        return connection

    def _receive(self, connection: socket.socket) -> bytes:
        chunks = []
        tail = b""
        with connection, self._translated():
            while not tail.endswith(uapi.END):
                chunk = connection.recv(1 << 16)
                if not chunk:
                    break
                chunks.append(chunk)
                tail = (tail + chunk)[-2:]
        return b"".join(chunks)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, BlockingIOError) as error:
            # BlockingIOError: so many wait for it already that the socket takes no more.
            raise DeviceTimeout(
                f"the WireGuard daemon of {self._interface} has been silent for {self._time_limit:.0f} s; restart it"
            ) from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DeviceMissing(f"no WireGuard daemon listens at {self._path}; start it") from error
        except PermissionError as error:
            raise DeviceError(f"{self._path}: permission denied; run this as root") from error
        except ConnectionError as error:
            reason = os.strerror(error.errno or 0)
            raise DeviceError(f"the WireGuard daemon of {self._interface} broke off: {reason}; restart it") from error


def _batches(items: Iterable[_Item]) -> Iterator[tuple[_Item, ...]]:
    iterator = iter(items)
    while batch := tuple(itertools.islice(iterator, BATCH)):
        yield batch


def _alike(peers: Iterable[WantedPeer]) -> Iterator[list[WantedPeer]]:
    """Batches of peers that state the same fields, so that nothing leaks from one into the next."""
    waiting: dict[tuple[bool, bool, bool], list[WantedPeer]] = {}
    for peer in peers:
        batch = waiting.setdefault(uapi.stated_fields(peer), [])
        batch.append(peer)
        if len(batch) == BATCH:
            yield batch.copy()
            batch.clear()
    yield from filter(None, waiting.values())
