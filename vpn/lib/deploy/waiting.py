"""Waiting for containers: until they are healthy, or will not become so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vpn.lib.deploy.components import HUB
from vpn.lib.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.engine import Container, Engine

LOOK_EVERY = 0.4
"""Seconds between two looks at what is waited for."""

RESTARTS = 3
"""A container that has been started again so often since the first look will not come up by itself."""


def await_hub(engine: Engine, hub: Component, wait: float) -> None:
    """Until the hub says of itself that it is healthy; docker's own check comes round later.

    Raises EngineError when it has not after ``wait`` seconds, or has ended.
    """
    deadline = time.monotonic() + wait
    restarts = None
    while True:
        container = engine.containers([hub]).get(HUB)
        restarts = require_alive(engine, hub, container, restarts)
        result = engine.execute(hub, "vpn_server", "health")
        if result.status == 0:
            return
        if time.monotonic() > deadline:
            raise EngineError(f"{HUB} is not healthy after {wait:.0f} s: {result.why().removeprefix('unhealthy: ')}")
        engine.processes.pause(LOOK_EVERY)


def await_health(engine: Engine, components: Sequence[Component], wait: float) -> None:
    """Until docker calls them all healthy; ``wait`` is in seconds.

    Raises EngineError for the first that does not become so.
    """
    deadline = time.monotonic() + wait
    pending = list(components)
    restarts: dict[str, int | None] = {}
    while True:
        containers = engine.containers(pending) if pending else {}
        for component in pending:
            container = containers.get(component.name)
            restarts[component.name] = require_alive(engine, component, container, restarts.get(component.name))
        pending = [component for component in pending if containers[component.name].health not in (None, "healthy")]
        if not pending:
            return
        if time.monotonic() > deadline:
            component = pending[0]
            reason = containers[component.name].reason or "its health check has not come round yet"
            raise EngineError(
                f"{component.name} is not healthy after {wait:.0f} s: {reason}"
                f"{_quoted(engine.last_log_line(component))}"
            )
        engine.processes.pause(LOOK_EVERY)


def require_alive(engine: Engine, component: Component, container: Container | None, before: int | None) -> int:
    """The container's count of restarts; ``before`` is that of the first look, if there was one.

    Raises EngineError, with the last line of its log, for one that has ended for good or again and again.
    """
    if container is None:
        raise EngineError(f"{component.name} has no container any more; somebody removed it: run start again")
    first = container.restarts if before is None else before
    if container.state in ("exited", "dead") or container.restarts - first >= RESTARTS:
        raise EngineError(
            f"{component.name} ended at its start with status {container.exit_code}"
            f"{_quoted(engine.last_log_line(component))}; `fedbiomed_vpn logs {component.name}` shows all of it"
        )
    return first


def _quoted(line: str) -> str:
    return f'; it said last: "{line}"' if line else ""
