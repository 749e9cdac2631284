"""``doctor``: what keeps a deployment on this machine from working, and what its containers say of themselves."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from vpn.lib.deploy.components import COMPONENTS, HUB, RESEARCHER
from vpn.lib.deploy.configure import ADDRESS, PORT
from vpn.lib.deploy.engine import Engine
from vpn.lib.deploy.folder import SETTINGS_FILE
from vpn.lib.deploy.waiting import RESTARTS
from vpn.lib.errors import EngineError, InvalidInput, StateError
from vpn.lib.findings import Examination, Finding, State, Verdict, failed, of_json, ok, one_line, skipped, warning
from vpn.lib.probes import judging as common, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.engine import Container
    from vpn.lib.deploy.folder import Deployment
    from vpn.lib.deploy.processes import Processes

QUICK = 5.0
"""Seconds that a question to the engine may take."""

LIMIT = 14.5
"""Seconds that all of it may take, with the components' own doctors, which take no more than 14 by themselves."""

ROOM = 1 << 30
"""Bytes: with less of a disk left, Docker's images and logs fill it soon."""

POOLS, OURS = 31, 5
"""Networks that an engine's default address pools hold, and that a whole deployment needs."""

NOTEBOOK_PORT, NOTEBOOK_HOST = "RESEARCHER_PORT", "RESEARCHER_HOST"


def examine(processes: Processes, find: Callable[[], Deployment]) -> list[Finding]:
    """Look at this machine and the deployment, then let each running container look at itself. Nothing is changed."""
    try:
        deployment = find()
    except (InvalidInput, StateError) as error:
        return [Finding("settings", State.FAILED, one_line(str(error)))]
    return _Doctor(Engine(deployment, processes)).run()


class _Doctor:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._components = [COMPONENTS[name] for name in engine.deployment.services]
        self._containers: dict[str, Container] = {}
        self._deadline = time.monotonic() + LIMIT

    def run(self) -> list[Finding]:
        examination = Examination(LIMIT)
        check = examination.check
        late = "the Docker daemon does not answer; start it again (`systemctl restart docker`)"
        check("docker", self._docker, limit=QUICK, late=late)
        check("containers", self._look, needs=("docker",), limit=QUICK, late=late)
        running = [component for component in self._components if self._running(component)]
        pool = ThreadPoolExecutor(max_workers=max(len(running), 1))
        try:
            # They look while we do.
            inside = {component.name: pool.submit(self._inside, component) for component in running}
            check("compose", self._compose, limit=QUICK)
            check("settings", self._settings)
            check("tun", lambda: common.tun(machine.tun_problem()))
            check("disk", self._disk, needs=("docker",), limit=QUICK)
            check("pools", self._pools, needs=("docker",), limit=QUICK)
            check("images", self._images, needs=("docker",), limit=QUICK)
            check("port", self._port, needs=("settings", "containers"))
            if RESEARCHER in self._engine.deployment.services:
                check("notebook-port", self._notebook_port, needs=("settings", "containers"))
            findings = examination.findings
            for component in self._components:
                findings += self._of_component(component)
                findings += inside[component.name].result() if component.name in inside else []
        except BaseException:
            self._engine.processes.stop()
            raise
        finally:
            pool.shutdown()
        return findings

    def _docker(self) -> Verdict:
        result = self._engine.docker("version", "--format", "{{.Server.Version}}", limit=QUICK)
        if result.status != 0:
            return failed(f"docker does not work: {result.why()}")
        return ok(f"Docker {result.out.strip()} answers")

    def _compose(self) -> Verdict:
        return ok(f"`{' '.join(self._engine.compose_command)}` is there")

    def _settings(self) -> Verdict:
        for name, default in ((PORT, "51820"), (NOTEBOOK_PORT, "8888")):
            value = self._engine.deployment.setting(name, default)
            if not value.isdecimal() or not 0 < int(value) < 65536:
                return failed(f"{name}={value[:40]} is no port; correct it in {SETTINGS_FILE}, or in the environment")
        return ok(f"{self._engine.deployment.folder} is a deployment of {', '.join(self._engine.deployment.services)}")

    def _disk(self) -> Verdict:
        result = self._engine.docker("info", "--format", "{{.DockerRootDir}}", limit=QUICK)
        root = result.out.strip()
        try:
            free = os.statvfs(root)
        except OSError:
            return skipped(f"Docker's folder {root} is not to be seen from here")
        left = free.f_bavail * free.f_frsize
        problem = common.free_space(root, left)
        if problem is not None:
            return problem._replace(message=f"{problem.message}; `docker system df` shows what Docker holds")
        if left < ROOM:
            return warning(f"{left >> 20} MiB are left for Docker in {root}; `docker system df` shows what it holds")
        return ok(f"{left >> 30} GiB left for Docker in {root}")

    def _pools(self) -> Verdict:
        result = self._engine.docker("info", "--format", "{{json .DefaultAddressPools}}", limit=QUICK)
        if result.status != 0 or result.out.strip() not in ("null", "[]"):
            return skipped("the engine's address pools are not the default ones, so their size is not known")
        listed = self._engine.docker("network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}}", limit=QUICK)
        names = listed.out.split()
        ours = sum(name.endswith(tuple(f"_{service}" for service in COMPONENTS)) for name in names)
        room = POOLS - len(names)
        repair = "`docker network prune` removes unused ones"
        if room < max(OURS - ours, 0):
            what = failed if room <= 0 else warning
            return what(f"{len(names)} of about {POOLS} networks that the engine has addresses for are taken; {repair}")
        return ok(f"{len(names)} networks, with addresses for about {POOLS}")

    def _images(self) -> Verdict:
        there = self._engine.image_names()
        missing = [component.name for component in self._components if component.image not in there]
        if len(missing) == len(self._components):
            return failed("there are no images; run `fedbiomed_vpn build`, or `import` an archive")
        if missing:
            return warning(
                f"none for {', '.join(missing)}; where it is to run here: `fedbiomed_vpn build {' '.join(missing)}`"
            )
        return ok("there are images of all components")

    def _look(self) -> Verdict:
        self._containers = self._engine.containers(self._components)
        if not self._containers:
            return warning("nothing is started; `fedbiomed_vpn start` starts all of it")
        running = sum(container.running for container in self._containers.values())
        return ok(f"{len(self._containers)} there, {running} running")

    def _port(self) -> Verdict:
        number = int(self._engine.deployment.setting(PORT, "51820"))
        if HUB not in self._engine.deployment.services:
            return skipped("no hub belongs to this deployment")
        container = self._containers.get(HUB)
        if container is not None and container.running:
            if any(port.endswith("/udp") for port in container.published):
                return ok(f"UDP port {number} is published for the hub")
            return failed(
                f"the hub's container does not publish UDP port {number}, so nobody outside reaches it; `fedbiomed_vpn"
                " start vpnserver` makes it anew"
            )
        return _free(socket.SOCK_DGRAM, "", number, PORT)

    def _notebook_port(self) -> Verdict:
        number = int(self._engine.deployment.setting(NOTEBOOK_PORT, "8888"))
        container = self._containers.get(RESEARCHER)
        if container is not None and container.running:
            if "8888/tcp" in container.published:
                return ok(f"TCP port {number} is published for the notebook")
            return failed("the researcher's container does not publish the notebook; start it again")
        return _free(
            socket.SOCK_STREAM, self._engine.deployment.setting(NOTEBOOK_HOST, "127.0.0.1"), number, NOTEBOOK_PORT
        )

    def _of_component(self, component: Component) -> list[Finding]:
        examination = Examination(self._deadline - time.monotonic(), component.name)
        if component.name in self._containers:
            examination.check("container", partial(self._container, component), limit=QUICK)
            if not self._running(component):
                examination.check("config", partial(self._config, component))
        return examination.findings

    def _running(self, component: Component) -> bool:
        container = self._containers.get(component.name)
        return container is not None and container.running

    def _container(self, component: Component) -> Verdict:
        container = self._containers[component.name]
        unsettled = container.restarts >= RESTARTS and container.health in ("starting", "unhealthy")
        if container.running and container.health != "unhealthy" and not unsettled:
            restarts = f", started again {container.restarts} times" if container.restarts else ""
            return ok(f"running{f', {container.health}' if container.health else ''}{restarts}")
        said = f'; it said last: "{line}"' if (line := self._engine.last_log_line(component)) else ""
        logs = f"`fedbiomed_vpn logs {component.name}` shows all"
        if container.state == "restarting" or (container.running and unsettled):
            return failed(f"it ends and is started again and again ({container.restarts} times){said}; {logs}")
        if container.state in ("exited", "dead"):
            return failed(
                f"it has ended with status {container.exit_code}{said}; `fedbiomed_vpn start {component.name}`"
            )
        if container.state == "paused":
            return failed(f"it is paused; `docker unpause {container.name}`")
        if not container.running:
            return failed(f"it is {container.state}; `fedbiomed_vpn start {component.name}`")
        return failed(f"it is unhealthy: {container.reason or 'its check says nothing'}; {logs}")

    def _config(self, component: Component) -> Verdict:
        path = self._engine.deployment.config(component)
        variables = self._engine.deployment.variables(component)
        if variables is None:
            if path.exists():
                return skipped(f"{path} is another account's to read")
            return failed(f"{path} is missing; {self._filling(component)}")
        wanted = ADDRESS if component.name == HUB else "VPN_SERVER_ENDPOINT"
        if not variables.get(wanted):
            return failed(f"{path} is not filled ({wanted} is not set); {self._filling(component)}")
        return ok(f"{path} is filled")

    @staticmethod
    def _filling(component: Component) -> str:
        if component.name == HUB:
            return "`fedbiomed_vpn configure --public-address ADDRESS`"
        return f"put the file there that `configure_peer.py genconf {component.peer_type} ID` wrote on the hub"

    def _inside(self, component: Component) -> list[Finding]:
        """What the component's own doctor finds."""
        program = "vpn_server" if component.name == HUB else "vpn_client"
        left = max(self._deadline - time.monotonic(), 1.0)
        try:
            result = self._engine.execute(component, program, "doctor", "--json", limit=left)
            return of_json(result.out, component.name)
        except ValueError:
            reason = result.why()
            verdict = skipped(
                f"its own doctor does not work ({reason}); is its image older than this tool? Build it again"
            )
        except EngineError as error:
            verdict = failed(str(error))
        return [Finding("doctor", verdict.state, verdict.message, component.name)]


def _free(kind: int, address: str, number: int, setting: str) -> Verdict:
    """Whether a port of this machine can be had: by having it for a moment."""
    name = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    try:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, number))
    except PermissionError:
        return skipped(f"whether {name} port {number} is free, only root can tell")
    except OSError as error:
        return failed(
            f"{name} port {number} cannot be had ({error.strerror}); stop what has it (`ss -lntup`), or set {setting}"
            f" in {SETTINGS_FILE}"
        )
    return ok(f"{name} port {number} is free")
