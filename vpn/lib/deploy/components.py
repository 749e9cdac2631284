"""What a deployment consists of, as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HUB = "vpnserver"
NODE = "node"
RESEARCHER = "researcher"
BASE_IMAGE = "fedbiomed/vpn-base"


class Component(NamedTuple):
    """A service of the compose file.

    ``peer_type`` and ``peer_id`` are what it is registered as by default; empty for the hub. ``state`` are the
    paths below its ``run_mounts`` that its configuration and its data are kept in.
    """

    name: str
    peer_type: str
    peer_id: str
    state: tuple[str, ...]

    @property
    def image(self) -> str:
        """The name of its image."""
        return f"fedbiomed/vpn-{self.name}"


COMPONENTS = {
    component.name: component
    for component in (
        Component(HUB, "", "", ("config/config_peers", "config/ip_assign", "config/wireguard")),
        Component("mqtt", "management", "mqtt", ("config/wireguard", "data")),
        Component("restful", "management", "restful", ("config/wireguard", "app")),
        Component(NODE, "node", "node1", ("config/wireguard", "data", "fbm-node")),
        Component(
            RESEARCHER,
            "researcher",
            "researcher1",
            ("config/wireguard", "config/notebook", "data", "fbm-researcher"),
        ),
    )
}


def chosen(names: Sequence[str], available: Iterable[str]) -> list[Component]:
    """The components of these names, in the order in which they are started; all that are available for no name.

    Raises InvalidInput for a name that is none, or that the compose file does not have.
    """
    there = [name for name in COMPONENTS if name in available]
    for name in names:
        if name not in there:
            raise InvalidInput(f"{name[:60]!r} is no component of this deployment; choose from: {', '.join(there)}")
    return [COMPONENTS[name] for name in there if not names or name in names]
