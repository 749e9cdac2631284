"""What a component is handed: the variables of its ``config.env``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vpn.lib import config_env
from vpn.lib.control import INVITATION_EXPIRES, INVITATION_IP, INVITATION_KEY
from vpn.lib.registry.addressing import MQTT, RESTFUL
from vpn.lib.registry.peer import PeerType

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import Invitation, Peer
    from vpn.lib.wireguard.keys import PublicKey

MQTT_PORT = 1883
UPLOADS_PORT = 8000


def variables(peer: Peer, settings: Settings, hub: PublicKey, invitation: Invitation | None = None) -> dict[str, str]:
    """The peer's variables, in the order of the file. Holds the preshared key, and what an invitation carries.

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
        "VPN_SERVER_PSK": (peer if invitation is None else invitation).preshared_key.reveal(),
    }
    if invitation is not None:
        values[INVITATION_KEY] = invitation.private_key.reveal()
        values[INVITATION_IP] = str(invitation.address)
        values[INVITATION_EXPIRES] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(invitation.expires))
    if peer.name.type is PeerType.MANAGEMENT:
        return values
    values["MQTT_BROKER"] = str(plan.reserved(MQTT))
    values["MQTT_BROKER_PORT"] = str(MQTT_PORT)
    values["UPLOADS_URL"] = f"http://{plan.reserved(RESTFUL)}:{UPLOADS_PORT}/upload/"
    values["FEDBIOMED_NET_IP"] = str(plan.hub.ip)
    values["FEDBIOMED_NODEID" if peer.name.type is PeerType.NODE else "FEDBIOMED_ID"] = peer.name.id
    return values


def text(peer: Peer, settings: Settings, hub: PublicKey, invitation: Invitation | None = None) -> str:
    """The peer's config.env, which is the same for the same registration and settings."""
    secret = "VPN_SERVER_PSK" if invitation is None else f"VPN_SERVER_PSK, {INVITATION_KEY}"
    header = [
        f"{peer.name}: the VPN configuration that its hub made for it.",
        f"It holds a secret ({secret}): hand it over by a safe way, keep it readable by its owner only.",
    ]
    if invitation is not None:
        header.append("An invitation, for one component, once: put it in place and start the component.")
    return config_env.render(variables(peer, settings, hub, invitation), header)
