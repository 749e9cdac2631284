"""What the process beside the hub's daemon serves, and on which addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import control as protocol
from vpn.lib.errors import StateError, describe_os_error
from vpn.lib.serving import control, server
from vpn.lib.serving.server import Listener

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from vpn.lib.hub.settings import Settings


def listeners(settings: Settings, environ: Mapping[str, str]) -> list[Listener]:
    """Everything that these settings ask for."""
    return [Listener(str(settings.plan.hub.ip), protocol.PORT, control.application(environ))]


def run(settings: Settings, environ: Mapping[str, str], log: logging.Logger) -> int:
    """Serve until SIGTERM; the exit status. Raises StateError for an address that cannot be listened on."""
    try:
        return server.run(listeners(settings, environ), log)
    except OSError as error:
        raise StateError(f"cannot listen for the hub's peers: {describe_os_error(error)}") from error
