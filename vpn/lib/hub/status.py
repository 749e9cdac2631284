"""What the hub's daemon says of itself, for commands and health checks: ``wireguard/status``."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env, files
from vpn.lib.errors import DeviceError, InvalidInput, StateError
from vpn.lib.hub.state import WIREGUARD_FOLDER, daemon_lock, registry_path
from vpn.lib.registry.sqlite import SqliteRegistry
from vpn.lib.wireguard.daemons import BORINGTUN, DAEMONS
from vpn.lib.wireguard.userspace import UserspaceDevice

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.settings import Settings
    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.types import ObservedDevice


class Status(NamedTuple):
    """``problem`` is empty when the hub is ready; ``implementation`` is what carries wg0."""

    implementation: str
    problem: str


def _path(settings: Settings) -> Path:
    return settings.folder / WIREGUARD_FOLDER / "status"


def save(settings: Settings, status: Status) -> None:
    """Publish the daemon's status. Not synced: it does not outlive the daemon."""
    values = {
        "IMPLEMENTATION": status.implementation,
        "PROBLEM": status.problem.replace("'", "`"),
    }
    text = config_env.render(values)
    files.write(_path(settings), text.encode(), owner=settings.owner, durable=False)


def clear(settings: Settings) -> None:
    """Take the status back at the daemon's end."""
    with suppress(FileNotFoundError):
        _path(settings).unlink()


def load(settings: Settings) -> Status | None:
    """The published status, None where there is none."""
    try:
        values = config_env.load(_path(settings))
        return Status(values["IMPLEMENTATION"], values["PROBLEM"])
    except (FileNotFoundError, InvalidInput, StateError, KeyError):
        return None


def ask_to_reload(settings: Settings) -> None:
    """Have the daemon read its settings again, as SIGHUP does: a command may not be allowed to send it that."""
    files.write(_asked(settings), b"", owner=settings.owner, durable=False)


def reload_asked(settings: Settings) -> bool:
    """Whether a command has asked for it since the last time."""
    try:
        _asked(settings).unlink()
    except OSError:
        return False
    return True


def _asked(settings: Settings) -> Path:
    return settings.folder / WIREGUARD_FOLDER / "reload"


def open_device(settings: Settings) -> Device:
    """wg0 as the running daemon carries it, else as the settings would.

    It may not be there: then its calls raise DeviceMissing.
    """
    status = load(settings)
    implementation = settings.wireguard if status is None else status.implementation
    if implementation == "kernel":
        from vpn.lib.wireguard.kernel import KernelDevice

        return KernelDevice(settings.interface)
    # Undecided (`auto`, no daemon running) makes no difference: then there is no socket.
    return UserspaceDevice(settings.interface, DAEMONS.get(implementation, BORINGTUN).dialect)


def unhealthy(settings: Settings, observed: ObservedDevice | None = None) -> str | None:
    """Why the hub is not healthy, or None when it is: daemon running, ready, and wg0 answering as this hub.

    ``observed`` is wg0 as it was read just now, None to read it.
    """
    lock = daemon_lock(settings)
    if not registry_path(settings).exists() or lock.acquire():
        lock.release()
        return "the hub's daemon is not running; start it with `vpn_server.py`"
    if not os.statvfs(settings.folder).f_bavail:
        return f"the disk of {settings.folder} is full; free some space"
    status = load(settings)
    if status is None:
        return "the hub is starting; wait a moment, then look at its log"
    if status.problem:
        return status.problem
    try:
        registry = SqliteRegistry(registry_path(settings))
        public_key = registry.public_key()
        registry.close()
        if (observed or open_device(settings).read()).public_key != public_key:
            return f"{settings.interface} has another key than the hub; restart the hub"
    except (DeviceError, StateError) as error:
        return str(error)
    return None
