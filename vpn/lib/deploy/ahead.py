"""What a build fetches from package archives, begun while the base image is still compiled.

The classic builder does one thing at a time, and those stages do not depend on the base image. What they made is in its
cache when the image's own build comes to it. BuildKit finds such work by itself.
"""

from __future__ import annotations

import shlex
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from vpn.lib.deploy.engine import Engine


class Stage(NamedTuple):
    """A stage of an image that fetches, and the settings that its Dockerfile takes."""

    image: str
    dockerfile: str
    target: str
    arguments: Mapping[str, str]


_BASE = {"VPN_BASE_IMAGE": "debian:bookworm-slim"}
_FEDBIOMED = {**_BASE, "FEDBIOMED": "6.4.1"}
STAGES = (
    Stage("mqtt", "docker/mqtt/Dockerfile", "packages", _BASE),
    Stage("restful", "docker/restful/Dockerfile", "install", _BASE),
    Stage("node", "docker/node/Dockerfile", "install", _FEDBIOMED),
    Stage("researcher", "docker/node/Dockerfile", "install-researcher", _FEDBIOMED),
)
"""In the order of the builds. The defaults are those of docker-compose.yml: others would miss its cache."""


class Ahead:
    """The stages that are being built. One that fails is left to the image's own build, which says why."""

    def __init__(self, process: subprocess.Popen[bytes] | None, images: Collection[str]) -> None:
        self._process = process
        self._images = images

    def wait_for(self, image: str) -> None:
        """Wait until nothing of the image is being built any more: twice at once would take twice as long."""
        if self._process is not None and image in self._images:
            self._process.wait()


@contextmanager
def begin(engine: Engine, images: Collection[str], environ: Mapping[str, str]) -> Iterator[Ahead]:
    """Build the stages of these images beside the block; what is not done at its end is given up."""
    stages = [stage for stage in STAGES if stage.image in images]
    if not stages or environ.get("DOCKER_BUILDKIT") != "0":
        yield Ahead(None, ())
        return
    script = "\n".join(f"{shlex.join(_command(engine, stage))} || true" for stage in stages)
    process = engine.processes.start(
        ["/bin/sh", "-c", script],
        folder=engine.deployment.folder.parent,
        environ=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Ahead(process, {stage.image for stage in stages})
    finally:
        engine.processes.end(process)


def _command(engine: Engine, stage: Stage) -> list[str]:
    arguments = [
        word
        for name, default in stage.arguments.items()
        for word in ("--build-arg", f"{name}={engine.deployment.setting(name, default)}")
    ]
    return ["docker", "image", "build", "--file", stage.dockerfile, "--target", stage.target, *arguments, "."]
