"""What a component is handed: the variables of its ``config.env``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import config_env
from vpn.lib.registry.addressing import MQTT, RESTFUL
from vpn.lib.registry.peer import PeerType

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import Peer
    from vpn.lib.wireguard.keys import PublicKey

MQTT_PORT = 1883
UPLOADS_PORT = 8000


def variables(peer: Peer, settings: Settings, hub: PublicKey) -> dict[str, str]:
    """The peer's variables, in the order of the file. Holds the preshared key.

    Raises InvalidInput where the hub's public address is not set.
    """
    plan = settings.plan
    values = {
        "VPN_IP": str(peer.address),
        "VPN_SUBNET_PREFIX": str(plan.hub.network.prefixlen),
        "USE_WG_KERNEL_MOD": "true" if settings.components_use_kernel else "false",
        "VPN_SERVER_ENDPOINT": settings.endpoint,
        "VPN_SERVER_ALLOWED_IPS": str(plan.hub.network),
        "VPN_SERVER_PUBLIC_KEY": str(hub),
        "VPN_SERVER_PSK": peer.preshared_key.reveal(),
    }
    if peer.name.type is PeerType.MANAGEMENT:
        return values
    values["MQTT_BROKER"] = str(plan.reserved(MQTT))
    values["MQTT_BROKER_PORT"] = str(MQTT_PORT)
    values["UPLOADS_URL"] = f"http://{plan.reserved(RESTFUL)}:{UPLOADS_PORT}/upload/"
    values["FEDBIOMED_NET_IP"] = str(plan.hub.ip)
    values["FEDBIOMED_NODEID" if peer.name.type is PeerType.NODE else "FEDBIOMED_ID"] = peer.name.id
    return values


def text(peer: Peer, settings: Settings, hub: PublicKey) -> str:
    """The peer's config.env, which is the same for the same registration and settings."""
    header = (
        f"{peer.name}: the VPN configuration that its hub made for it.",
        "It holds a secret (VPN_SERVER_PSK): hand it over by a safe way, keep it readable by its owner only.",
    )
    return config_env.render(variables(peer, settings, hub), header)
