"""Whether packets may pass from peer to peer: the forwarding of the hub's own interface, and of no other."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vpn.lib.errors import DeviceError

SYSCTLS = Path("/proc/sys/net/ipv4/conf")


class StillForwarding(DeviceError):
    """Forwarding is on and may not be turned off: the interface must not stay up."""


def allow(interface: str, base: Path = SYSCTLS) -> str:
    """Let packets pass from peer to peer; what to do where that fails, else empty. Doing it again is cheap.

    Only this interface is opened, not the whole machine. Redirects would tell peers to go directly, which
    a tunnel cannot (the kernel's WireGuard turns them off by itself, linux/drivers/net/wireguard).
    """
    for name in (interface, "all"):
        with suppress(OSError):
            _set(base / name / "send_redirects", "0")
    try:
        _set(base / interface / "forwarding", "1")
    except OSError:
        return (
            "peers cannot reach each other: forwarding is off and may not be turned on; run the hub with the sysctl"
            " net.ipv4.ip_forward=1 (docker-compose: `sysctls`)"
        )
    return ""


def forbid(interface: str, base: Path = SYSCTLS) -> None:
    """Let nothing pass. Raises StillForwarding where that is not permitted; without an interface, nothing passes."""
    try:
        _set(base / interface / "forwarding", "0")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StillForwarding(
            f"forwarding of {interface} may not be turned off ({error.strerror}), so {interface} stays down until the"
            " rules are loaded"
        ) from error


def _set(path: Path, value: str) -> None:
    # In a container these files are often read-only, and right already.
    if path.read_text().strip() != value:
        path.write_text(value)
