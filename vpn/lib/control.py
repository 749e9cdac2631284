"""What hub and component say to each other inside the tunnel: HTTP with JSON, on the hub's VPN address.

WireGuard proves who asks: a peer sends from its own address only. So a request is of whoever has the address that it
comes from. Under ``ENROL`` a component with an invitation hands over its own public key, under
``ROTATE`` one that was asked for new keys hands over those; both with a preshared key that it made, so that an answer
that is lost costs nothing: the component knows both keys, and tries them. Under ``STATE`` it learns what has changed.
"""

from __future__ import annotations

PORT = 51821
"""TCP, on the hub's VPN address."""

ENROL, ROTATE, STATE = "/v1/enrol", "/v1/rotate", "/v1/state"

PUBLIC_KEY, PRESHARED_KEY, VERSION = "public_key", "preshared_key", "version"
"""What a request holds."""

ENDPOINT, ROTATION, AGAIN, MESSAGE = "endpoint", "rotate", "again_after", "message"
"""What an answer holds: the hub's ``host:port``, whether new keys are wanted, when to ask again (seconds), and for
people why something is refused."""

INVITATION_KEY, INVITATION_IP, INVITATION_EXPIRES = (
    "VPN_INVITATION_KEY",
    "VPN_INVITATION_IP",
    "VPN_INVITATION_EXPIRES",
)
"""What an invitation adds to config.env; VPN_SERVER_PSK is the invitation's there."""

ENDPOINT_BEFORE = "VPN_SERVER_ENDPOINT_BEFORE"
"""Where the hub was before it moved: tried while the new place does not answer."""
