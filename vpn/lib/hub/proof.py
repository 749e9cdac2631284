"""Proving by reading wg0 back that a key is out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceError, DeviceMissing, Unproven
from vpn.lib.hub.wanted import all_wanted
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vpn.lib.registry.peer import PeerName
    from vpn.lib.registry.store import Registry
    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.keys import PublicKey


def gone(device: Device, name: PeerName, key: PublicKey) -> bool | None:
    """Take the key out of wg0: True when it is out, None where there is no wg0. Raises Unproven."""
    with _proving(name):
        try:
            device.apply(Plan(remove=(key,)))
            held = device.holds(key)
        except DeviceMissing:
            return None
    if held:
        raise Unproven(f"{name} is removed from the registry, but wg0 still holds its key; restart the hub")
    return True


def no_strangers(device: Device, name: PeerName, registry: Registry) -> bool | None:
    """``gone`` for a peer without a key: a command that was killed may have left it in wg0 all the same."""
    with _proving(name):
        try:
            observed = device.read().peers.keys()
            strangers = tuple(observed - {peer.public_key for peer in all_wanted(registry)}) if observed else ()
            device.apply(Plan(remove=strangers))
            left = any(map(device.holds, strangers))
        except DeviceMissing:
            return None
    if left:
        raise Unproven("wg0 holds keys that are not registered and does not give them up; restart the hub")
    return True


@contextmanager
def _proving(name: PeerName) -> Iterator[None]:
    try:
        yield
    except DeviceError as error:
        raise Unproven(
            f"{name} is removed from the registry, but wg0 cannot prove it: {error}. The hub replaces a daemon that"
            " hangs; run this again"
        ) from error
