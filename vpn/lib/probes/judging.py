"""What is to be said of a machine, from what was observed of it. Pure."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from vpn.lib.findings import Verdict, failed, ok, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vpn.lib.probes.machine import Interface

OLDEST = 1704067200.0
"""1 January 2024 UTC, before any release of this project: a clock that shows less was never set."""

TOLERANCE = 60.0
"""Seconds that clocks may differ: files may come from another machine."""

RESERVE = 64 << 20
"""Bytes: with less of a disk left, a log or a copy fills it soon."""

REPLAY = (
    "WireGuard's hub refuses handshakes dated before the last one it took (TAI64N), so nothing joins with a clock that"
    " is behind"
)


def tun(error: OSError | None) -> Verdict:
    """Of /dev/net/tun; ``error`` is why it cannot be used."""
    if error is None:
        return ok("/dev/net/tun can be used")
    if error.errno == errno.ENOENT:
        return failed(
            "/dev/net/tun is missing; give it to the container (compose: `devices: [/dev/net/tun]`), or on the machine"
            " itself run `modprobe tun`"
        )
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return failed("the kernel has no driver for /dev/net/tun; run `modprobe tun` on the host")
    if error.errno in (errno.EACCES, errno.EPERM):
        return failed(
            f"/dev/net/tun may not be opened by user {os.geteuid()}; give the container the device (compose: `devices`)"
            " or this user the right to it"
        )
    if error.errno in (errno.ENOTTY, errno.EINVAL):
        return failed(
            "/dev/net/tun is another device or a file; remove it, then `mknod /dev/net/tun c 10 200` or `modprobe tun`"
        )
    return failed(f"/dev/net/tun cannot be used ({error.strerror}); run `modprobe tun` on the host")


def capability(*, has: bool, daemon_runs: bool, root: bool) -> Verdict:
    """Of CAP_NET_ADMIN: the daemon's where it runs, else this process's own."""
    whose = "the daemon" if daemon_runs else "this process"
    if has:
        return ok(f"{whose} has CAP_NET_ADMIN")
    if not daemon_runs and not root:
        return skipped("the daemon does not run, and this user is not root: what it will have cannot be told")
    return failed(
        f"{whose} lacks CAP_NET_ADMIN, so wg0 cannot be made; give it to the container (compose: `cap_add:"
        " [NET_ADMIN]`), or run it as root"
    )


def program(name: str, missing: Sequence[str], *, daemon_runs: bool) -> Verdict:
    """Of the WireGuard that is chosen; ``missing`` are programs that are not on the PATH."""
    if not missing:
        return ok(f"{name} is installed" if name != "kernel" else "the kernel's WireGuard is chosen, no program needed")
    shown = ", ".join(missing)
    if daemon_runs:
        return warning(
            f"{shown}: not on this PATH, though the daemon runs; it could not start again if that is its PATH"
        )
    return failed(f"{shown}: not on the PATH; install it, or choose another WireGuard with VPN_WIREGUARD")


def clock(now: float, written: Mapping[str, float], handshake: float | None = None, registry: float = 0.0) -> Verdict:
    """Of the clock: ``written`` are times of files by their names, ``registry`` is the latest time in the registry."""
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(now, 0.0)))
    repair = "set it (`timedatectl set-ntp true`; in a container: the host's)"
    if now < OLDEST:
        return failed(f"the clock shows {shown}, it was never set; {repair}: {REPLAY}")
    if registry > now + TOLERANCE:
        return failed(
            f"the clock shows {shown}, {span(registry - now)} before the latest entry of the registry; {repair}."
            " Until then registry time stands still, and handshakes and ages are told wrongly"
        )
    if handshake is not None and handshake > now + TOLERANCE:
        return failed(
            f"the last handshake is {span(handshake - now)} in the future, so the clock was set back; {repair}:"
            f" {REPLAY}. If the clock is right now: on the hub `remove` and `add` this component"
        )
    name, latest = max(written.items(), key=lambda item: item[1], default=("", 0.0))
    if latest > now + TOLERANCE:
        return failed(f"the clock shows {shown}, {span(latest - now)} before {name} was written; {repair}: {REPLAY}")
    return ok(f"{shown}, which is plausible")


def link(name: str, seen: Interface | None, address: str) -> Verdict | None:
    """Of the interface, which is to have this address; None when it is as it should be."""
    repair = "the daemon puts it back within seconds; if not, look at its log"
    if seen is None:
        return failed(f"{name} is not there; {repair}")
    if not seen.up:
        return failed(f"{name} is down; {repair}")
    if seen.address is None or str(seen.address.ip) != address:
        return failed(f"{name} has the address {seen.address or 'of nobody'}, not {address}; {repair}")
    return None


def free_space(place: str, free: int) -> Verdict | None:
    """Of a disk with so many bytes left; None when there is enough."""
    if free == 0:
        return failed(f"the disk of {place} is full; free some space (`df -h {place}`)")
    if free < RESERVE:
        return warning(f"the disk of {place} has only {free >> 10} KiB left; free some space (`df -h {place}`)")
    return None


def wide_mode(path: str, mode: int) -> Verdict:
    """Of the permissions of a file with a secret."""
    if mode & 0o077:
        return warning(f"{path} holds a secret and is open to other users (mode {mode:04o}); `chmod 600 {path}`")
    return ok(f"{path} is its owner's alone (mode {mode:04o})")


def listed(names: Iterable[str], most: int = 5) -> str:
    """``a, b and 3 more``."""
    all_names = list(names)
    return ", ".join(all_names[:most]) + (f" and {len(all_names) - most} more" if len(all_names) > most else "")


def span(seconds: float) -> str:
    """``12 s``, ``5 min``, ``3 h`` or ``40 days``."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h" if whole < 172800 else f"{whole // 86400} days"
