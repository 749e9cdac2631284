"""``status``: one look at every component, for people and for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from vpn.lib.deploy.components import COMPONENTS, HUB
from vpn.lib.deploy.joining import PEERS
from vpn.lib.errors import InvalidInput, StateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.engine import Container, Engine

FIXED_IDS = ("mqtt", "restful")
"""Components whose id is their name, so that the hub's list tells them without their config.env."""

HUB_ADDRESS = "10.220.0.1"
"""The hub's, where its config.env does not set another (docs/operation.md)."""


class View(NamedTuple):
    """A component as it is. None is unknown, or does not apply.

    ``state`` is docker's, or ``missing``. ``application`` is ``up`` or ``down``: the check of a container's
    health asks the application too. ``handshake_age`` is in seconds.
    """

    name: str
    container: str
    state: str
    health: str | None
    reason: str | None
    address: str | None
    handshake_age: float | None
    application: str | None

    @property
    def well(self) -> bool:
        """Whether it runs, and is healthy where it has a check for that."""
        return self.state == "running" and self.health in (None, "healthy")


class Peers(NamedTuple):
    """How many components this machine's hub has registered, wherever they run, and how many of them are in."""

    registered: int
    active: int


class Status(NamedTuple):
    """A deployment. ``peers`` is None where the hub does not run here, or does not answer."""

    folder: str
    components: list[View]
    peers: Peers | None

    @property
    def well(self) -> bool:
        """Whether there is something, and all that is there runs and is healthy."""
        there = [view for view in self.components if view.state != "missing"]
        return bool(there) and all(view.well for view in there)


def look(engine: Engine) -> Status:
    """Look: one ``docker inspect``, and the hub's list where it runs here. Raises EngineError without an engine."""
    deployment = engine.deployment
    components = [COMPONENTS[name] for name in deployment.services]
    containers = engine.containers(components)
    hub = containers.get(HUB)
    peers = _peers(engine) if hub is not None and hub.running else None
    views = [_view(engine, component, containers.get(component.name), peers) for component in components]
    counted = None if peers is None else Peers(len(peers), sum(peer.get("state") == "active" for peer in peers))
    return Status(str(deployment.folder), views, counted)


def as_json(status: Status) -> str:
    """For programs; the keys are described in docs/fedbiomed_vpn.md and stay."""
    return json.dumps(
        {
            "folder": status.folder,
            "ok": status.well,
            "components": [{**view._asdict(), "ok": view.well} for view in status.components],
            "hub": None if status.peers is None else status.peers._asdict(),
        },
        indent=1,
    )


def show(status: Status, console: Console) -> None:
    """Print it for people."""
    rows = [("", "COMPONENT", "STATE", "VPN ADDRESS", "HANDSHAKE", "APPLICATION", ""), *map(_row, status.components)]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    colours = ["", *(_colour(view) for view in status.components)]
    for row, colour in zip(rows, colours, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row[:6], widths, strict=True)]
        if colour:
            cells[0], cells[2] = console.paint(cells[0], colour), console.paint(cells[2], colour)
        console.say("  ".join([*cells[0 if console.terminal else 1 :], row[6]]).rstrip())
    if status.peers is not None:
        console.say(f"hub: {status.peers.registered} registered, {status.peers.active} active")
    if all(view.state == "missing" for view in status.components):
        console.say("nothing is started; `fedbiomed_vpn start` starts all of it")


def _peers(engine: Engine) -> list[dict[str, Any]] | None:
    """The hub's list; None where it does not answer."""
    result = engine.execute(COMPONENTS[HUB], *PEERS, "list", "--json", limit=10)
    if result.status != 0:
        return None
    try:
        peers = json.loads(result.out)
    except ValueError:
        return None
    return peers if isinstance(peers, list) else None


def _view(
    engine: Engine, component: Component, container: Container | None, peers: Sequence[Mapping[str, Any]] | None
) -> View:
    address = _address(engine, component, container)
    peer = _peer(component, address, peers or ())
    handshake = peer.get("latest_handshake")
    health = container.health if container is not None and container.running else None
    application = {"healthy": "up", "unhealthy": "down"}.get(health or "")
    return View(
        name=component.name,
        container=engine.deployment.container(component),
        state="missing" if container is None else container.state,
        health=health,
        reason=None if container is None else _reason(container),
        address=address or peer.get("address"),
        handshake_age=None if handshake is None else round(max(0.0, time.time() - handshake), 1),
        application=application if container is not None and container.running else None,
    )


def _reason(container: Container) -> str | None:
    """Why it is not well; of a container that has ended, its check says nothing any more."""
    return container.reason if container.running else f"ended with status {container.exit_code}"


def _peer(component: Component, address: str | None, peers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the hub knows of the component on this machine; empty where that cannot be told."""
    for peer in peers:
        if address is None:
            same = component.name in FIXED_IDS and peer.get("id") == component.peer_id
        else:
            same = peer.get("address") == address
        if same and peer.get("type") == component.peer_type:
            return peer
    return {}


def _address(engine: Engine, component: Component, container: Container | None) -> str | None:
    """The component's address in the VPN, as its configuration says."""
    from vpn.lib import config_env

    try:
        variables = engine.deployment.variables(component)
        if (
            variables is None
            and component.name not in (*FIXED_IDS, HUB)
            and container is not None
            and container.running
        ):
            # The file is the container's account's; the container shows it.
            variables = config_env.parse(engine.execute(component, "cat", "/config/config.env").out, "config.env")
    except (InvalidInput, StateError):
        return None
    address = (variables or {}).get("VPN_IP")
    return address or (HUB_ADDRESS if component.name == HUB and container is not None else None)


def _row(view: View) -> tuple[str, ...]:
    mark = "✓" if view.well else "-" if view.state == "missing" else "…" if view.health == "starting" else "✗"
    state = f"{view.state}, {view.health}" if view.health else view.state
    age = "-" if view.handshake_age is None else f"{_ago(view.handshake_age)} ago"
    return mark, view.name, state, view.address or "-", age, view.application or "-", view.reason or ""


def _ago(seconds: float) -> str:
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


def _colour(view: View) -> str:
    if view.well:
        return "green"
    return "grey" if view.state == "missing" else "yellow" if view.health == "starting" else "red"
