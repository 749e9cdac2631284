"""How a component is brought into the VPN: its configuration from the hub, its key to the hub."""

from __future__ import annotations

import ipaddress
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait as wait_for
from typing import TYPE_CHECKING

from vpn.lib import config_env, files
from vpn.lib.control import INVITATION_KEY
from vpn.lib.deploy.components import COMPONENTS, HUB
from vpn.lib.deploy.folder import owner_to_keep
from vpn.lib.deploy.waiting import LOOK_EVERY, require_alive
from vpn.lib.errors import EngineError, InvalidInput, Refused, StateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vpn.lib.deploy.components import Component
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.engine import Engine

PEERS = ("python", "./vpn/bin/configure_peer.py")


class Joining:
    """The components of one ``start``. ``joined`` are the names of those whose hub has answered."""

    def __init__(self, engine: Engine, console: Console, wait: float) -> None:
        self._engine = engine
        self._console = console
        self._wait = wait
        self._variables: dict[str, Mapping[str, str]] = {}
        self._ids: dict[str, str] = {}
        self._elsewhere: set[str] = set()
        self.joined: set[str] = set()
        self._lock = threading.Lock()

    def hand_over(self, component: Component, peer_id: str | None) -> None:
        """Register the component on this machine's hub, and give it the config.env that the hub makes for it.

        Without ``peer_id`` it is who its config.env says that it is. One that has an invitation uses that.

        Raises EngineError with what the hub says, and StateError when the file cannot be written.
        """
        present = self._present(component) or ""
        path = self._engine.deployment.config(component)
        try:
            variables = config_env.parse(present, str(path))
        except InvalidInput:
            variables = {}  # it is written anew
        if variables.get(INVITATION_KEY):
            self.require_config(component)
            return
        peer_id = peer_id or _own_id(variables) or component.peer_id
        self._peers("genconf", component, peer_id)
        text = self._handed_out(component, peer_id)
        self._ids[component.name] = peer_id
        self._variables[component.name] = config_env.parse(text, f"{component.name}'s config.env")
        if present == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text.encode(), owner=owner_to_keep(path))
        self._console.done(f"{component.name}: registered as {component.peer_type} {peer_id}")

    def require_config(self, component: Component) -> None:
        """Read what somebody has put there; the hub is elsewhere. Raises Refused where nobody has."""
        text = self._present(component)
        path = self._engine.deployment.config(component)
        variables = config_env.parse(text or "", str(path))
        if not variables.get("VPN_SERVER_ENDPOINT"):
            raise Refused(
                f"{path} is not filled; put the file there that `configure_peer.py genconf {component.peer_type}"
                f" {component.peer_id}` wrote on the hub, then start again (is the hub to run here? then name"
                " vpnserver too)"
            )
        self._variables[component.name] = variables
        self._ids[component.name] = _own_id(variables) or component.peer_id
        self._elsewhere.add(component.name)

    def join(self, components: Sequence[Component]) -> None:
        """Bring all of them in, at the same time. Raises the first error; the others are let go."""

        def one(component: Component) -> None:
            (self._join_elsewhere if component.name in self._elsewhere else self._join_here)(component)

        pool = ThreadPoolExecutor(max_workers=len(components))
        try:
            futures = [pool.submit(one, component) for component in components]
            done, _ = wait_for(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done and (error := future.exception()) is not None:
                    raise error
        except BaseException:
            self._engine.processes.stop()
            raise
        finally:
            pool.shutdown()

    def describe(self, component: Component) -> str:
        """What is said of a component that is in; nothing of the hub."""
        address = self._variables.get(component.name, {}).get("VPN_IP")
        return "" if address is None else f"{address}, joined, "

    def _join_here(self, component: Component) -> None:
        self._peers("add", component, self._ids[component.name], self._public_key(component))
        hub = self._hub_address(component)
        if not self._until(component, "ping", "-c", "1", "-W", "1", hub):
            raise EngineError(
                f"{component.name} does not reach the hub: no answer from {hub} in {self._wait:.0f} s"
                f"{self._health(component)}"
            )
        self._in(component)

    def _join_elsewhere(self, component: Component) -> None:
        name, key = component.name, self._public_key(component)
        if self._variables[name].get(INVITATION_KEY):
            self._console.say(f"{name}: joins by its invitation")
            if self._until(component, "vpn_client", "health"):
                self._in(component)
            else:
                self._console.say(f"{name}: has not joined yet; it tries on{self._health(component)}")
            return
        if self._until(component, "vpn_client", "health", first=True):
            self._in(component)
            return
        self._console.say(
            f"{name}: up, its public key is {key}\n"
            f"{name}: whoever runs the hub lets it in with:\n"
            f"  python ./vpn/bin/configure_peer.py add {component.peer_type} {self._ids[name]} {key}"
        )
        if self._until(component, "vpn_client", "health"):
            self._in(component)
            return
        self._console.say(
            f"{name}: has not joined yet; it does so by itself once it is let in (`fedbiomed_vpn status`)"
            f"{self._health(component)}"
        )

    def _in(self, component: Component) -> None:
        with self._lock:
            self.joined.add(component.name)

    def _until(self, component: Component, *command: str, first: bool = False) -> bool:
        """Whether a command in the container succeeds before the time is up; with ``first``, at once."""
        deadline = time.monotonic() + (0 if first else self._wait)
        while self._engine.execute(component, *command).status != 0:
            if time.monotonic() >= deadline:
                return False
            self._engine.processes.pause(LOOK_EVERY)
        return True

    def _public_key(self, component: Component) -> str:
        deadline = time.monotonic() + self._wait
        restarts = None
        while True:
            result = self._engine.execute(component, "vpn_client", "public-key")
            if result.status == 0:
                return result.out.strip()
            container = self._engine.containers([component]).get(component.name)
            restarts = require_alive(self._engine, component, container, restarts)
            if time.monotonic() > deadline:
                raise EngineError(f"{component.name} does not tell its public key: {result.why()}")
            self._engine.processes.pause(LOOK_EVERY)

    def _peers(self, command: str, component: Component, *arguments: str) -> None:
        """Run configure_peer.py on the hub. Raises EngineError with what it says."""
        hub = COMPONENTS[HUB]
        result = self._engine.execute(hub, *PEERS, command, component.peer_type, *arguments)
        if result.status != 0:
            raise EngineError(f"the hub refuses {component.name}: {result.why().removeprefix('configure_peer: ')}")

    def _handed_out(self, component: Component, peer_id: str) -> str:
        """The config.env that genconf wrote: from the folder, or where that is another's, from the hub itself."""
        try:
            return files.read_text(self._engine.deployment.handed_out(component, peer_id))
        except (OSError, StateError):
            return self._inside(COMPONENTS[HUB], f"/config/config_peers/{component.peer_type}/{peer_id}/config.env")

    def _present(self, component: Component) -> str | None:
        """The component's config.env; None where there is none."""
        try:
            return files.read_text(self._engine.deployment.config(component))
        except FileNotFoundError:
            return None
        except (OSError, StateError):
            container = self._engine.containers([component]).get(component.name)
            if container is None or not container.running:
                raise
            return self._inside(component, "/config/config.env")

    def _inside(self, component: Component, path: str) -> str:
        result = self._engine.execute(component, "cat", path)
        if result.status != 0:
            raise EngineError(f"{component.name} does not show its {path}: {result.why()}")
        return result.out

    def _hub_address(self, component: Component) -> str:
        variables = self._variables[component.name]
        if address := variables.get("FEDBIOMED_NET_IP"):
            return address
        if address := (self._engine.deployment.variables(COMPONENTS[HUB]) or {}).get("VPN_IP"):
            return address
        try:
            return str(ipaddress.ip_network(variables["VPN_SERVER_ALLOWED_IPS"].split(",")[0])[1])
        except (KeyError, ValueError, IndexError) as error:
            raise InvalidInput(
                f"{component.name}'s config.env does not tell where the hub is; `genconf` it again"
            ) from error

    def _health(self, component: Component) -> str:
        said = self._engine.execute(component, "vpn_client", "health")
        line = said.why().removeprefix("unhealthy: ")
        return f"; it says: {line}" if said.status != 0 else ""


def _own_id(variables: Mapping[str, str]) -> str | None:
    """Who a config.env is for, None where it does not say."""
    return variables.get("FEDBIOMED_NODEID") or variables.get("FEDBIOMED_ID")
