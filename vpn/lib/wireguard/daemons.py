"""The userspace WireGuard daemons: how each is started, and what each does differently.

Measured on boringtun-cli 0.7.1, gotatun-cli 0.10.2 and wireguard-go 0.0.20220316; ``docs/daemons.md``
has the table, the contract suite proves it against the programs.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from vpn.lib.errors import InvalidInput


class Dialect(NamedTuple):
    """What a daemon's UAPI does differently.

    - ``handshake_is_age``: ``last_handshake_time_*`` counts from now back, not from 1970.
    - ``updates_in_place``: a ``set`` on a peer that exists does what the UAPI says. Without it, the peer
      is removed in a request of its own and added whole (boringtun hangs for good on such a ``set``,
      gotatun appends allowed IPs).
    - ``rekeys``: takes another private key or port while it runs. gotatun binds its port a second time before
      it lets go of it: it refuses, or ends.
    """

    handshake_is_age: bool
    updates_in_place: bool
    rekeys: bool = True


class Daemon(NamedTuple):
    """A userspace implementation.

    ``programs`` are its possible names, the newest first; ``arguments`` stand before the interface;
    ``environment`` is all that it gets besides PATH. ``handshake_limit`` is how many
    handshakes a device takes in how many seconds before it turns the rest away for seconds; None means that
    nothing was noticed.
    """

    name: str
    programs: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    dialect: Dialect
    handshake_limit: tuple[int, float] | None = None


BORINGTUN = Daemon(
    "boringtun",
    ("boringtun-cli", "boringtun"),
    # The name of the user that would be dropped to is asked of a login session, which a container has not.
    ("-f", "--disable-drop-privileges", "--disable-connected-udp", "--verbosity", "error"),
    (),
    Dialect(handshake_is_age=True, updates_in_place=False),
    # Meant for each second, but what resets the count is always a little early and then waits for another one.
    handshake_limit=(100, 2.0),
)
GOTATUN = Daemon(
    "gotatun",
    ("gotatun",),
    ("-f", "--disable-drop-privileges", "--verbosity", "error"),
    (),
    Dialect(handshake_is_age=False, updates_in_place=False, rekeys=False),
)
WIREGUARD_GO = Daemon(
    "wireguard-go",
    ("wireguard-go",),
    ("-f",),
    # Without the second, it prints a box that recommends the kernel's module on every start.
    (("LOG_LEVEL", "error"), ("WG_PROCESS_FOREGROUND", "1")),
    Dialect(handshake_is_age=False, updates_in_place=True),
)

DAEMONS = {daemon.name: daemon for daemon in (BORINGTUN, GOTATUN, WIREGUARD_GO)}


class Implementation(Enum):
    """Which WireGuard carries the interface. AUTO: the kernel where it has WireGuard, else boringtun."""

    AUTO = "auto"
    KERNEL = "kernel"
    BORINGTUN = "boringtun"
    GOTATUN = "gotatun"
    WIREGUARD_GO = "wireguard-go"

    @property
    def daemon(self) -> Daemon | None:
        """The daemon that has to run for it, or None for the kernel's (and while AUTO is undecided)."""
        return DAEMONS.get(self.value)


def parse_implementation(name: str) -> Implementation:
    """From the value of VPN_WIREGUARD. Raises InvalidInput."""
    try:
        return Implementation(name.lower())
    except ValueError as error:
        known = ", ".join(implementation.value for implementation in Implementation)
        raise InvalidInput(f"unknown WireGuard implementation {name[:40]!r}; choose one of {known}") from error
