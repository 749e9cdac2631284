"""The interface that every WireGuard implementation offers here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.plan import Plan
    from vpn.lib.wireguard.types import ObservedDevice, WantedPeer


class Device(Protocol):
    """One WireGuard interface that exists.

    Every call ends within a bounded time. All raise DeviceMissing when the interface is not there,
    DeviceTimeout when it does not answer, and DeviceRefused when it answers with an error; after an
    error the device may hold a part of the change, so read it back.
    """

    @property
    def interface(self) -> str:
        """The interface's name, such as ``wg0``."""
        ...

    def read(self) -> ObservedDevice:
        """What the device holds now."""
        ...

    def holds(self, public_key: PublicKey) -> bool:
        """Whether the device knows this peer: the read-back that proves a removal."""
        ...

    def add(self, peers: Iterable[WantedPeer]) -> None:
        """Add peers that are not there, beginning while ``peers`` is still being produced."""
        ...

    def apply(self, plan: Plan) -> None:
        """Carry the plan out, in the order that this implementation needs. An empty plan costs nothing.

        Raises DeviceError before anything is changed where the device takes no other key or port while it
        runs: start it anew.
        """
        ...
