"""``start``: what the manual procedure does by hand, up to components that are joined and healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib.deploy.components import COMPONENTS, HUB
from vpn.lib.deploy.configure import configure, configured_address
from vpn.lib.deploy.joining import Joining
from vpn.lib.deploy.waiting import await_health, await_hub
from vpn.lib.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.engine import Container, Engine


def start(
    engine: Engine,
    console: Console,
    components: Sequence[Component],
    *,
    ids: Mapping[str, str | None],
    address: str | None = None,
    port: int | None = None,
    wait: float = 60.0,
) -> None:
    """Bring the components up, and into the VPN. ``ids`` are peer ids by component; ``wait`` bounds each wait.

    Repeating it changes nothing. Raises the error of the first thing that fails.
    """
    hub = COMPONENTS[HUB]
    others = [component for component in components if component is not hub]
    there = engine.containers(COMPONENTS[name] for name in engine.deployment.services)
    _require_images(engine, components, there)
    if hub in components:
        if address is not None or port is not None or not configured_address(engine.deployment):
            configure(engine, console, address, port)
        _up(engine, [hub])
        await_hub(engine, hub, wait)
        console.done(f"{HUB}: the hub answers")
    elif address is not None or port is not None:
        raise Refused("--public-address and --port are the hub's; name vpnserver too, or leave them out")
    here = hub in components or (HUB in there and there[HUB].running)
    joining = Joining(engine, console, wait)
    for component in others:
        if here:
            joining.hand_over(component, ids.get(component.name))
        else:
            joining.require_config(component)
    if others:
        _up(engine, others)
        joining.join(others)
    waited_for = [component for component in components if component is hub or component.name in joining.joined]
    await_health(engine, waited_for, wait)
    for component in waited_for:
        console.done(f"{component.name}: {joining.describe(component)}healthy")


def _require_images(engine: Engine, components: Sequence[Component], there: Mapping[str, Container]) -> None:
    # A container that runs has its image, whatever that is called by now.
    missing = [
        component.name
        for component in components
        if component.name not in there and not engine.has_image(component.image)
    ]
    if missing:
        raise Refused(
            f"there is no image for {', '.join(missing)}; run `fedbiomed_vpn build {' '.join(missing)}`,"
            " or `fedbiomed_vpn import` an archive that was made elsewhere"
        )


def _up(engine: Engine, components: Sequence[Component]) -> None:
    # No dependencies: the base image is there to be built from, not to run.
    engine.compose("up", "-d", "--no-deps", "--no-build", *(component.name for component in components))
