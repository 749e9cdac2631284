"""A deployment in a folder of its own, with names of its own, driven by the commands of the procedure."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.network import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = {
    "mqtt": ("management", "mqtt"),
    "restful": ("management", "restful"),
    "node": ("node", "node1"),
    "researcher": ("researcher", "researcher1"),
}
ADDRESSES = {
    "vpnserver": "10.220.0.1",
    "mqtt": "10.220.0.2",
    "restful": "10.220.0.3",
    "node": "10.221.0.2",
    "researcher": "10.222.0.2",
}


def run(
    command: Sequence[str | Path], *, check: bool = True, limit: float = 240, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, within ``limit`` seconds; its output as text."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit, **options)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def host_address() -> str:
    """An address of this machine that containers reach: the gateway of the engine's own network."""
    networks = json.loads(run(["docker", "network", "inspect", "bridge"]).stdout)
    return str(networks[0]["IPAM"]["Config"][0].get("Gateway") or "172.17.0.1")


class Deployment:
    """The files of ``docker/`` as a clone has them, in ``folder``; containers are named with ``instance``."""

    def __init__(self, folder: Path, instance: str, uid: int, port: int, **environ: str) -> None:
        self.folder = folder / "docker"
        self.instance = instance
        self.uid = uid
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VPN_", "CONTAINER_"))}
        self.environ = {
            **inherited,
            "CONTAINER_UID": str(uid),
            "CONTAINER_GID": str(uid),
            "CONTAINER_USER": "hospital",
            "CONTAINER_GROUP": "hospital",
            "FBM_CONTAINER_INSTANCE_ID": instance,
            "VPN_SERVER_PORT": str(port),
            "RESEARCHER_PORT": str(port + 1),
            "DOCKER_BUILDKIT": "0",
            **environ,
        }
        for name in run(["git", "ls-files", "docker"], cwd=ROOT).stdout.splitlines():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        config = self.mounts("vpnserver") / "config" / "config.env"
        text = config.read_text()
        config.write_text(text.replace("VPN_SERVER_PUBLIC_ADDR=", f"VPN_SERVER_PUBLIC_ADDR={host_address()}"))

    def mounts(self, name: str) -> Path:
        """``NAME/run_mounts``."""
        return self.folder / name / "run_mounts"

    def container(self, name: str) -> str:
        """The container's name."""
        return f"fedbiomed-vpn-{name}{self.instance}"

    def compose(
        self, *arguments: str, check: bool = True, environ: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """``docker-compose`` in the deployment's folder."""
        command = ["docker-compose", *arguments]
        return run(command, check=check, cwd=self.folder, env={**self.environ, **(environ or {})}, **options)

    def tool(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """``fedbiomed_vpn`` for this deployment."""
        command: list[str | Path] = ["python3", ROOT / "vpn/bin/fedbiomed_vpn.py", *arguments, "--folder", self.folder]
        return run(command, check=check, env=self.environ, **options)

    def exec(self, name: str, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """``docker-compose exec`` without a terminal."""
        return self.compose("exec", "-T", name, *command, check=check, **options)

    def python(self, name: str, code: str, *arguments: str, check: bool = True) -> str:
        """Run a program in the container as its user; what it printed."""
        command = ["docker", "exec", "-i", "-u", str(self.uid), self.container(name), "python", "-", *arguments]
        return run(command, input=code, check=check).stdout

    def peer(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``configure_peer.py`` on the hub, as the procedure calls it."""
        return self.exec("vpnserver", "python", "./vpn/bin/configure_peer.py", *arguments, check=check)

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine knows of the container."""
        found: list[dict[str, Any]] = json.loads(run(["docker", "inspect", self.container(name)]).stdout)
        return found[0]

    def healthy(self, name: str) -> bool:
        """Whether the component's own check says so now."""
        check = ["vpn_server", "health"] if name == "vpnserver" else ["component-health"]
        done = run(["docker", "exec", self.container(name), *check], check=False)
        return done.returncode == 0 and done.stdout == "healthy\n"

    def wait_healthy(self, *names: str, seconds: float = 60) -> None:
        """Wait until the components' checks say so."""
        for name in names:
            try:
                wait_until(lambda name=name: self.healthy(name), seconds, f"{name} is healthy", pause=0.2)
            except TimeoutError as error:
                log = run(["docker", "logs", "--tail", "30", self.container(name)])
                raise AssertionError(f"{error}\n{log.stdout}{log.stderr}") from error

    def ping(self, name: str, address: str = "10.220.0.1") -> bool:
        """Whether one echo through the VPN is answered."""
        command = ["docker", "exec", self.container(name), "ping", "-n", "-c", "1", "-W", "1", address]
        return run(command, check=False).returncode == 0

    def up(self, name: str) -> None:
        """``docker-compose up -d``."""
        self.compose("up", "-d", name)

    def enrol(self, name: str, peer_type: str = "", peer_id: str = "") -> str:
        """The procedure for a component, from genconf to the ping; its public key."""
        if not peer_type:
            peer_type, peer_id = COMPONENTS[name]
        self.peer("genconf", peer_type, peer_id)
        source = f"./vpnserver/run_mounts/config/config_peers/{peer_type}/{peer_id}/config.env"
        run(["cp", source, f"./{name}/run_mounts/config/config.env"], cwd=self.folder)
        self.up(name)
        key = self.exec(name, "wg", "show", "wg0", "public-key").stdout.strip()
        self.peer("add", peer_type, peer_id, key)
        wait_until(lambda: self.ping(name), 30, f"{name} joins")
        return key

    def down(self) -> None:
        """Remove the deployment's containers and networks, and nothing else."""
        self.compose("down", "--timeout", "3", "--remove-orphans", check=False)
