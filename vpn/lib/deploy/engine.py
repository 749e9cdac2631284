"""docker and docker-compose, as far as the tool needs them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from vpn.lib.deploy.processes import LIMIT, Processes, Result, last_line, printable
from vpn.lib.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.folder import Deployment

_NO_PERMISSION = (
    "this account may not use Docker; run this with sudo, or as root `usermod -aG docker USER` and log in again"
)
_NO_DAEMON = "the Docker daemon does not answer; start it (`systemctl start docker`), then try again"
_SIGNS = (
    (_NO_PERMISSION, ("permission denied while trying to connect", "PermissionError(13")),
    (
        _NO_DAEMON,
        (
            "Cannot connect to the Docker daemon",
            "Is the docker daemon running",
            "Error while fetching server API version",
            "Couldn't connect to Docker daemon",
        ),
    ),
    (
        "the disk is full; free some space (`docker system df` shows what Docker holds), then try again",
        ("no space left on device",),
    ),
    (
        "a port to publish is taken (`ss -lntup`): stop what has it, or set VPN_SERVER_PORT or RESEARCHER_PORT in .env",
        ("port is already allocated", "address already in use"),
    ),
    (
        "the engine has no addresses left for networks; remove unused ones (`docker network ls`), then try again",
        ("non-overlapping IPv4 address pool", "all predefined address pools have been fully subnetted"),
    ),
)


class Container(NamedTuple):
    """What the engine says of a container.

    ``state`` is docker's word for it (``running``, ``exited``, ``restarting``...). ``health`` is ``healthy``,
    ``unhealthy``, ``starting``, or None where there is no check; ``said`` is what the last check printed.
    ``published`` are the host's address and port by the container's port (``8888/tcp``).
    """

    name: str
    state: str
    exit_code: int
    restarts: int
    health: str | None
    said: str
    published: Mapping[str, tuple[str, int]]

    @property
    def running(self) -> bool:
        """Whether its main program runs."""
        return self.state == "running"

    @property
    def reason(self) -> str | None:
        """Why it is not healthy, as its health check says; None where it is, or has not said."""
        if self.health in (None, "healthy") or not self.said or self.said == "healthy":
            return None
        return self.said.removeprefix("unhealthy: ")


class Engine:
    """The engine of this machine, for one deployment."""

    def __init__(self, deployment: Deployment, processes: Processes) -> None:
        self.deployment = deployment
        self.processes = processes

    def docker(self, *arguments: str, data: str = "", limit: float = LIMIT) -> Result:
        """Run docker; see the function of this name."""
        return docker(self.processes, *arguments, data=data, limit=limit)

    @functools.cached_property
    def compose_command(self) -> tuple[str, ...]:
        """``docker compose`` where it is there, else ``docker-compose``. Raises EngineError when neither is."""
        if self.processes.run(["docker", "compose", "version"]).status == 0:
            return ("docker", "compose")
        import shutil

        if shutil.which("docker-compose", path=self.processes.environ.get("PATH")) is None:
            raise EngineError(
                "docker-compose is not installed; install it (Debian: `apt-get install docker-compose`), then try again"
            )
        return ("docker-compose",)

    def compose(self, *arguments: str, limit: float = 600) -> None:
        """Run docker-compose in the deployment's folder. Raises EngineError that says why it failed."""
        result = self.processes.run([*self.compose_command, *arguments], folder=self.deployment.folder, limit=limit)
        if result.status != 0:
            text = result.err + result.out
            said = [line for line in text.splitlines() if line.startswith(("ERROR", "Error"))]
            raise EngineError(
                explain(text)
                or f"`{' '.join(self.compose_command)} {arguments[0]}` failed:"
                f" {printable(said[-1]) if said else result.why()}"
            )

    def containers(self, components: Iterable[Component]) -> dict[str, Container]:
        """The containers that exist, by the component's name: one call of docker."""
        import json

        names = {self.deployment.container(component): component.name for component in components}
        result = self.docker("container", "inspect", *names)
        try:
            found = [_container(item) for item in json.loads(result.out or "[]")]
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(
                "`docker container inspect` answers what is not understood; is docker too old?"
            ) from error
        return {names[container.name]: container for container in found if container.name in names}

    def has_image(self, image: str) -> bool:
        """Whether the image is in the engine."""
        return self.docker("image", "inspect", "--format", "{{.Id}}", image).status == 0

    def execute(self, component: Component, *command: str, data: str | None = None, limit: float = LIMIT) -> Result:
        """Run a command in the component's container, without a terminal; ``data`` is its standard input."""
        options = [] if data is None else ["-i"]
        return self.docker(
            "exec", *options, self.deployment.container(component), *command, data=data or "", limit=limit
        )

    def last_log_line(self, component: Component) -> str:
        """The last thing that a component said; empty where it said nothing."""
        result = self.docker("logs", "--tail", "20", self.deployment.container(component))
        return last_line(result.err) or last_line(result.out)

    def image_names(self) -> list[str]:
        """The images of this project that are in the engine."""
        result = self.docker("image", "ls", "--format", "{{.Repository}}", "--filter", "reference=fedbiomed/vpn-*")
        return sorted(set(result.out.split()))


def docker(processes: Processes, *arguments: str, data: str = "", limit: float = LIMIT) -> Result:
    """Run docker; ``data`` is its standard input.

    Raises EngineError when it is missing, or its daemon does not answer to us. Other failures are the caller's.
    """
    result = processes.run(["docker", *arguments], data=data, limit=limit)
    if result.status != 0 and (problem := explain(result.err)) in (_NO_PERMISSION, _NO_DAEMON):
        raise EngineError(problem)
    return result


def explain(text: str) -> str | None:
    """What to do about an error of docker or docker-compose that is known; None for another."""
    for advice, signs in _SIGNS:
        if any(sign.lower() in text.lower() for sign in signs):
            return advice
    return None


def follow(processes: Processes, command: Iterable[str], folder: Path) -> int:
    """Run a program with our own standard streams; its exit status."""
    process = processes.start(list(command), folder=folder, stdin=None, stdout=None, stderr=None)
    try:
        return process.wait()
    finally:
        processes.end(process)


def _container(item: Mapping[str, Any]) -> Container:
    state = item["State"]
    health = state.get("Health") or {}
    status = health.get("Status")
    log = health.get("Log") or []
    published = {}
    for port, bindings in ((item.get("NetworkSettings") or {}).get("Ports") or {}).items():
        if bindings:
            published[port] = (str(bindings[0]["HostIp"]), int(bindings[0]["HostPort"]))
    return Container(
        name=item["Name"].removeprefix("/"),
        state=state["Status"],
        exit_code=state.get("ExitCode", 0),
        restarts=item.get("RestartCount", 0),
        health=None if status in (None, "none", "") else status,
        said=last_line(log[-1].get("Output", "")) if log else "",
        published=published,
    )
