"""Is this component joined? For health checks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib.component import settings as component_settings, shield
from vpn.lib.component.link_state import SESSION_LIFE
from vpn.lib.errors import DeviceError, DeviceMissing, InvalidInput, StateError, describe_os_error
from vpn.lib.wireguard.daemons import BORINGTUN, Implementation
from vpn.lib.wireguard.kernel import KernelDevice
from vpn.lib.wireguard.userspace import UserspaceDevice, socket_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vpn.lib.component.settings import Settings
    from vpn.lib.wireguard.device import Device


CHECK_LIMIT = 4.0
"""Seconds that the application's check may take."""


def unhealthy(folder: Path, environ: Mapping[str, str], check: Sequence[str] = ()) -> str | None:
    """Why the component is not joined or its application does not work, or None when all is well.

    ``check`` is a program that exits with 0 where the application works; else the first line that it prints is why it
    does not.
    """
    try:
        settings = component_settings.load(folder, environ)
    except FileNotFoundError:
        return f"{folder / component_settings.FILE} is not there; copy the one there that `genconf` wrote on the hub"
    except (InvalidInput, StateError) as error:
        return str(error)
    if settings.invitation is not None:
        return (
            f"the invitation is not used yet; `vpn_client run` uses it, if the hub at {settings.hub_host}, UDP port"
            f" {settings.hub_port}, is reachable, and says in its log why it cannot"
        )
    try:
        peer = device(settings).read().peers.get(settings.hub_key)
    except DeviceMissing:
        return "wg0 is not up; start `vpn_client run`, or look at its log"
    except DeviceError as error:
        return str(error)
    if peer is None or peer.latest_handshake is None:
        return (
            "the hub does not answer; is this component's key (`vpn_client public-key`) added there, and is UDP port"
            f" {settings.hub_port} of {settings.hub_host} reachable?"
        )
    age = time.time() - peer.latest_handshake
    if age >= SESSION_LIFE:
        return (
            f"the hub has not answered for {age / 60:.0f} minutes; check the way to {settings.hub_host}, UDP port"
            f" {settings.hub_port}"
        )
    if problem := shield.missing(environ):
        return problem
    return _failing(check, {**environ, **dict(settings.application)}) if check else None


def _failing(check: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Why the application's check fails, None where it does not."""
    import subprocess

    try:
        done = subprocess.run(
            check, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_LIMIT, check=False
        )
    except OSError as error:
        return f"cannot check the application with {check[0]}: {describe_os_error(error)}"
    except subprocess.TimeoutExpired:
        return f"the application did not answer within {CHECK_LIMIT:.0f} s; look at its log"
    if done.returncode == 0:
        return None
    said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
    return said[0][:300] if said else "the application does not work; look at its log"


def device(settings: Settings) -> Device:
    """wg0 as the component's daemon carries it; its calls raise DeviceMissing where it is not there."""
    interface = component_settings.INTERFACE
    daemon = settings.implementation.daemon
    if daemon is None and (
        settings.implementation is Implementation.KERNEL or not Path(socket_path(interface)).exists()
    ):
        return KernelDevice(interface)
    # `auto` that did not find the kernel's WireGuard runs boringtun.
    return UserspaceDevice(interface, (daemon or BORINGTUN).dialect)
