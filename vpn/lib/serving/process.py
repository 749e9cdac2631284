"""What the process beside the hub's daemon serves, and on which addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib import control as protocol
from vpn.lib.errors import VpnError
from vpn.lib.serving import control, server
from vpn.lib.serving.server import Listener

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from starlette.types import ASGIApp

    from vpn.lib.hub.settings import Settings
    from vpn.lib.serving.page import Finding
    from vpn.lib.wireguard.types import Endpoint


def listeners(settings: Settings, environ: Mapping[str, str], log: logging.Logger) -> list[Listener]:
    """Everything that these settings ask for, and that can be served."""

    def at(place: Endpoint, app: ASGIApp) -> Listener:
        return Listener(str(place.address), place.port, app, early=place.address == settings.plan.hub.ip)

    found = [Listener(str(settings.plan.hub.ip), protocol.PORT, control.application(environ), early=True)]
    # What is off is not imported: it would take memory from the machine.
    if settings.metrics is not None:
        from vpn.lib.serving import metrics

        found.append(at(settings.metrics, metrics.application(settings, environ)))
    if settings.page is not None:
        from vpn.lib.serving import page, token

        try:
            made = page.application(
                settings, environ, token.load_or_make(settings), lambda: _examine(settings, environ)
            )
            found.append(at(settings.page, made))
        except VpnError as error:
            log.warning("the page is not served: %s", error, extra={"event": "serving-failed"})
    return found


def _examine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    from vpn.lib.hub import doctor
    from vpn.lib.serving.page import Finding

    found = doctor.examine(settings.folder, environ)
    return [Finding(finding.check, finding.state.value, finding.message) for finding in found]


def run(settings: Settings, environ: Mapping[str, str], log: logging.Logger) -> int:
    """Serve until SIGTERM; the exit status."""
    return server.run(listeners(settings, environ, log), log)
