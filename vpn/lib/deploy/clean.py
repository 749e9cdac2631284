"""``clean``: take a deployment apart again, level by level, after having said what that destroys."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import files
from vpn.lib.deploy.components import BASE_IMAGE, HUB
from vpn.lib.deploy.console import plural, size
from vpn.lib.deploy.folder import owner_to_keep
from vpn.lib.deploy.removal import Contents, measure, remove
from vpn.lib.errors import EngineError, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.engine import Engine

INSTANCE, CONFIGURATION, IMAGE = 1, 2, 3


class Plan(NamedTuple):
    """What there is to destroy: containers, folders' contents, files to empty, images."""

    containers: list[Component]
    contents: list[Contents]
    emptied: list[Path]
    images: list[str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing."""
        return not any(self)


def make_plan(engine: Engine, components: Sequence[Component], level: int) -> Plan:
    """What is there of what the level names.

    Raises StateError for a symbolic link or another file system in its way, and for a file that is another
    account's to remove: before anything is destroyed.
    """
    there = engine.containers(components)
    containers = [component for component in components if component.name in there]
    contents: list[Contents] = []
    emptied: list[Path] = []
    images: list[str] = []
    if level >= CONFIGURATION:
        folder = engine.deployment.folder
        for component in components:
            mounts = (component.name, "run_mounts")
            contents += measure(folder, [(*mounts, *state.split("/")) for state in component.state])
            path = engine.deployment.config(component)
            if component.name != HUB and _is_filled(path):
                emptied.append(path)
    if level >= IMAGE:
        ours = engine.image_names()
        images = [component.image for component in components if component.image in ours]
        if BASE_IMAGE in ours and not set(ours) - {BASE_IMAGE, *images}:
            images.append(BASE_IMAGE)
    return Plan(containers, contents, emptied, images)


def describe(engine: Engine, plan: Plan) -> list[str]:
    """One line for each thing that will be gone."""
    folder = engine.deployment.folder
    lines = [f"container  {engine.deployment.container(component)}" for component in plan.containers]
    lines += [
        f"files      {(folder / item.path)}: {plural(item.files, 'file')}, {size(item.size)}" for item in plan.contents
    ]
    lines += [f"emptied    {path}" for path in plan.emptied]
    return lines + [f"image      {image}" for image in plan.images]


def clean(
    engine: Engine, console: Console, components: Sequence[Component], level: int, *, yes: bool, stdin: TextIO
) -> None:
    """Say what will be gone, ask, and do it; ``yes`` is the answer beforehand.

    Raises Refused where nobody can be asked, or the answer is no; StateError and EngineError for what stands in
    the way.
    """
    plan = make_plan(engine, components, level)
    if plan.empty:
        console.say("there is nothing to clean")
        return
    console.say("This will be gone for good:")
    for line in describe(engine, plan):
        console.say(f"  {line}")
    if not yes:
        _ask(console, stdin)
    _carry_out(engine, plan)
    console.done("clean")


def _ask(console: Console, stdin: TextIO) -> None:
    if not stdin.isatty():
        raise Refused("nobody is there to ask (no terminal); nothing is destroyed, --yes destroys it without asking")
    console.say("Type yes to destroy it:")
    if stdin.readline().strip() != "yes":
        raise Refused("the answer was not yes; nothing is destroyed")


def _carry_out(engine: Engine, plan: Plan) -> None:
    if plan.containers:
        engine.compose("rm", "-s", "-f", *(component.name for component in plan.containers))
    for item in plan.contents:
        remove(engine.deployment.folder, item)
    for path in plan.emptied:
        # As `echo >` does, which the manual procedure uses.
        files.write(path, b"\n", owner=owner_to_keep(path))
    for image in plan.images:
        result = engine.docker("image", "rm", image)
        if result.status != 0:
            raise EngineError(
                f"{image} stays: {result.why()}; remove the containers that use it (`docker ps -a`), then clean again"
            )


def _is_filled(path: Path) -> bool:
    try:
        return bool(path.lstat().st_size > 1)
    except FileNotFoundError:
        return False
