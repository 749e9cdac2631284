"""``build``: the images, from whatever this machine can get its Debian from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import files
from vpn.lib.deploy import ahead
from vpn.lib.deploy.folder import owner_to_keep
from vpn.lib.deploy.long_running import LongRunning, StepFailed
from vpn.lib.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.engine import Engine
    from vpn.lib.deploy.folder import Deployment

DEFAULT_BASE = "debian:bookworm-slim"
SUITE = "bookworm"
HOST_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
BY_HAND = f"mmdebstrap --variant=minbase --include=ca-certificates {SUITE}"
INSTALL = ["install", "-q", "-y", "--no-install-recommends", "mmdebstrap"]


class Identity(NamedTuple):
    """Who the containers' files and applications belong to."""

    uid: str
    gid: str
    user: str
    group: str

    def environ(self) -> dict[str, str]:
        """As the variables that the compose file takes."""
        return {f"CONTAINER_{name.upper()}": value for name, value in self._asdict().items()}


def identity(deployment: Deployment) -> Identity:
    """What CONTAINER_UID and the others say; else who runs this, and below sudo, who ran sudo."""
    import grp
    import pwd

    environ = deployment.environ
    invoked = os.geteuid() == 0 and environ.get("SUDO_UID", "").isdecimal() and environ.get("SUDO_GID", "").isdecimal()
    uid = int(environ["SUDO_UID"]) if invoked else os.getuid()
    gid = int(environ["SUDO_GID"]) if invoked else os.getgid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = "fedbiomed"
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = "fedbiomed"
    own = Identity(str(uid), str(gid), user, group)
    return Identity(*(deployment.setting(f"CONTAINER_{name.upper()}", value) for name, value in own._asdict().items()))


def build(engine: Engine, console: Console, components: Sequence[Component]) -> None:
    """Build the base image and those of the components. Raises EngineError for what failed."""
    deployment = engine.deployment
    steps = LongRunning(console, engine.processes, deployment.folder / "logs" / "build.log")
    _base(engine, console, steps)
    if copy_certificates(deployment):
        console.say("docker/ca/host.crt: this machine's certificates, for the time of the build")
    who = identity(deployment)
    console.say(f"for user {who.user} ({who.uid}), group {who.group} ({who.gid})")
    environ = {**who.environ(), **_builder(engine, deployment.environ)}
    names = [component.name for component in components]
    with ahead.begin(engine, names, environ) as fetching:
        for name in ("base", *names):
            fetching.wait_for(name)
            steps.run(
                f"build {name}",
                [*engine.compose_command, "build", name],
                "the lines above say why (a network or proxy that is not reached is the most common); then build again:"
                " what is done is kept",
                folder=deployment.folder,
                environ=environ,
            )


def _builder(engine: Engine, environ: Mapping[str, str]) -> dict[str, str]:
    """What makes docker and docker-compose use the builder that is there."""
    if engine.processes.run(["docker", "buildx", "version"]).status == 0:
        return {"BUILDKIT_PROGRESS": environ.get("BUILDKIT_PROGRESS", "plain")}
    return {name: environ.get(name, "0") for name in ("DOCKER_BUILDKIT", "COMPOSE_DOCKER_CLI_BUILD")}


def copy_certificates(deployment: Deployment) -> bool:
    """This machine's certificates to ``ca/host.crt``; true if that changed it.

    An unchanged file keeps its time, and so the builder's cache.
    """
    bundle = Path(deployment.environ.get("SSL_CERT_FILE") or HOST_BUNDLE)
    target = deployment.folder / "ca" / "host.crt"
    try:
        data = bundle.read_bytes()
    except FileNotFoundError:
        return False
    if target.exists() and target.read_bytes() == data:
        return False
    target.parent.mkdir(exist_ok=True)
    files.write(target, data, owner=owner_to_keep(target), mode=0o644)
    return True


def _base(engine: Engine, console: Console, steps: LongRunning) -> None:
    """The image that ours are made from: there already, pulled, or made here."""
    image = engine.deployment.setting("VPN_BASE_IMAGE", DEFAULT_BASE)
    if engine.has_image(image):
        return
    try:
        steps.run(f"pull {image}", ["docker", "pull", image], "it is not to be had", quiet=True)
        return
    except StepFailed:
        if image != DEFAULT_BASE:
            raise EngineError(
                f"{image} (VPN_BASE_IMAGE) is neither here nor to be pulled; `docker load` it, or unset VPN_BASE_IMAGE"
                f" to have {DEFAULT_BASE} made; all that docker said is in {steps.log}"
            ) from None
    console.say(f"{image} cannot be pulled; it is made here from Debian's packages instead")
    _make_base(engine, steps, image)


def _make_base(engine: Engine, steps: LongRunning, image: str) -> None:
    import shutil
    import tempfile

    if shutil.which("mmdebstrap", path=engine.processes.environ.get("PATH")) is None:
        if os.geteuid() != 0:
            raise EngineError(
                "mmdebstrap is not installed; as root: `apt-get install mmdebstrap`, or `docker load` an image"
                f" {image}; then build again"
            )
        for name, command in (("look for packages", ["update", "-q"]), ("install mmdebstrap", INSTALL)):
            steps.run(
                name,
                ["apt-get", *command],
                f"the lines above say why; or `docker load` an image {image}; then build again",
                environ={"DEBIAN_FRONTEND": "noninteractive"},
            )
    with tempfile.TemporaryDirectory(prefix="fedbiomed_vpn-") as folder:
        tar = os.path.join(folder, "base.tar")
        steps.run(
            f"make {image}",
            [*BY_HAND.split(), tar],
            "the lines above say why (is Debian's archive reached?); then build again",
        )
        steps.run(f"import {image}", ["docker", "import", tar, image], "the lines above say why")
