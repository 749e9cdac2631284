"""A container engine in a JSON file: ``docker`` and ``docker-compose`` for the host tool, as one program.

It is started as a program of one of these names, with the state's file in FAKE_ENGINE. What it does not know it
refuses with status 99 and a line that begins with ``fake:``, which no test expects.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

State = dict[str, Any]
SECRET = "ptpONlXkNixtdAo/qKwzIF6LnDIsrXOOc/4Dmzvggq0="
RANGES = {"management": "10.220.0", "node": "10.221.0", "researcher": "10.222.0"}
FIXED = {"mqtt": 2, "restful": 3}
PEERS = ["python", "./vpn/bin/configure_peer.py"]
NEW: State = {
    "daemon": "up",
    "compose2": False,
    "buildx": False,
    "pullable": [],
    "build_fails": "",
    "load_fails": "",
    "hub_healthy": True,
    "answers": True,
    "looks_until_healthy": 1,
    "ends_at_start": "",
    "bridge": "172.17.0.1",
    "root": "/",
    "pools": None,
    "networks": ["bridge"],
    "doctors": {},
    "saved": "",
    "image_in_use": "",
    "closed": False,
    "images": {},
    "containers": {},
    "peers": {},
    "notebook": {},
    "password": None,
    "calls": [],
}
"""The engine of a new test. ``closed``: the hub's files can be read by it alone;
``answers``: whether the hub answers components that have been added; ``doctors``: what a service's own doctor prints,
None for one of an image that has none."""


def key_of(service: str) -> str:
    """A component's public key."""
    return (service.encode().hex() + "A" * 43)[:43] + "="


def say(text: str) -> None:
    """Print a line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_as_engine(path: Path) -> str:
    """A file's text, whoever may read it: to the engine nothing is closed."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    try:
        return path.read_text()
    finally:
        path.chmod(mode)


class Engine:
    """One call of the program."""

    def __init__(self, state: State) -> None:
        self.state = state

    def docker(self, arguments: list[str]) -> int:
        if arguments[0] == "compose":
            if not self.state["compose2"]:
                return self.fail("docker: 'compose' is not a docker command.")
            return 0 if arguments[1:] == ["version"] else self.compose(arguments[1:])
        if arguments == ["buildx", "version"]:
            return 0 if self.state["buildx"] else self.fail("docker: unknown command: docker buildx")
        if self.state["daemon"] == "down":
            return self.fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?")
        if self.state["daemon"] == "forbidden":
            return self.fail("permission denied while trying to connect to the Docker daemon socket at unix:///...")
        match arguments:
            case ["version", "--format", _]:
                say("20.10.24")
            case ["image", "inspect", "--format", _, image]:
                return 0 if image in self.state["images"] else self.fail(f"Error: No such image: {image}")
            case ["image", "ls", "--format", "{{.Repository}}", "--filter", "reference=fedbiomed/vpn-*"]:
                say("\n".join(name for name in self.state["images"] if name.startswith("fedbiomed/vpn-")))
            case ["image", "rm", image] if image == self.state["image_in_use"]:
                return self.fail("Error response from daemon: conflict: container 1234 is using it")
            case ["image", "rm", image]:
                del self.state["images"][image]
            case ["image", "build", "--file", _, "--target", _, *_]:
                return 1 if self.state["build_fails"] else 0
            case ["pull", image]:
                if image not in self.state["pullable"]:
                    return self.fail("Error response from daemon: Get https://registry/: no route to host")
                self.state["images"][image] = {}
            case ["import", tar, image]:
                self.state["images"][image] = {"from": Path(tar).read_text()}
            case ["save", image]:
                say(f"an image: {image}")
                if self.state["saved"] == "broken":
                    return self.fail("Error response from daemon: layer is missing")
            case ["load"]:
                loaded = sys.stdin.buffer.read()
                if self.state["load_fails"]:
                    return self.fail(self.state["load_fails"])
                self.state["images"]["fedbiomed/vpn-node"] = {"bytes": len(loaded)}
            case ["container", "inspect", *names]:
                return self.inspect(names)
            case ["info", "--format", "{{.DockerRootDir}}"]:
                say(self.state["root"])
            case ["info", "--format", "{{json .DefaultAddressPools}}"]:
                say(json.dumps(self.state["pools"]))
            case ["network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}}"]:
                say("\n".join(self.state["networks"]))
            case ["network", "inspect", "bridge", "--format", _]:
                say(self.state["bridge"])
            case ["logs", "--tail", _, name]:
                sys.stderr.write(self.state["containers"][name]["log"])
            case ["exec", "-i", name, *command]:
                return self.execute(name, command, sys.stdin.readline())
            case ["exec", name, *command]:
                return self.execute(name, command, "")
            case _:
                unknown(arguments)
        return 0

    def inspect(self, names: list[str]) -> int:
        found, status = [], 0
        for name in names:
            container = self.state["containers"].get(name)
            if container is None:
                status = self.fail(f"Error: No such container: {name}")
                continue
            health = None
            if container["status"] == "running":
                container["looks"] -= 1
                health = container["health"] if container["looks"] < 0 else "starting"
            found.append(
                {
                    "Name": f"/{name}",
                    "RestartCount": container["restarts"],
                    "State": {
                        "Status": container["status"],
                        "ExitCode": container["exit_code"],
                        "Health": {"Status": health or "none", "Log": [{"Output": container["said"] + "\n"}]},
                    },
                    "NetworkSettings": {"Ports": container["ports"]},
                }
            )
        say(json.dumps(found))
        return status

    def execute(self, name: str, command: list[str], line: str) -> int:
        container = self.state["containers"].get(name)
        if container is None or container["status"] != "running":
            return self.fail(f"Error response from daemon: Container {name} is not running")
        service = container["service"]
        mount = Path(container["folder"], service, "run_mounts/config")
        match command:
            case ["vpn_server", "health"] if service == "vpnserver":
                if self.state["hub_healthy"] == "hangs":
                    time.sleep(600)
                return self.say_health(self.state["hub_healthy"], "the daemon does not answer")
            case [*start, "list", "--json"] if start == PEERS and service == "vpnserver":
                if not self.state["hub_healthy"]:
                    return self.fail("configure_peer: the registry is damaged; put a copy back")
                say(json.dumps(list(self.state["peers"].values())))
            case [*start, "genconf", kind, peer_id] if start == PEERS and service == "vpnserver":
                return self.genconf(mount, kind, peer_id)
            case [*start, "add", kind, peer_id, key] if start == PEERS and service == "vpnserver":
                peer = self.state["peers"][f"{kind} {peer_id}"]
                peer.update(state="active", public_key=key, latest_handshake=time.time())
            case ["vpn_server" | "vpn_client" as program, "doctor", "--json"]:
                if (program == "vpn_server") != (service == "vpnserver"):
                    unknown(command)
                return self.doctor(program, service)
            case ["vpn_client", "public-key"] if service != "vpnserver":
                say(key_of(service))
            case ["vpn_client", "health"] if service != "vpnserver":
                return self.say_health(self.joined(service), "the hub does not answer; is this component's key added?")
            case ["ping", "-c", "1", "-W", "1", "10.220.0.1"] if service != "vpnserver":
                return 0 if self.joined(service) else 1
            case ["cat", path] if path.startswith("/config/notebook/") and service == "researcher":
                say(self.state["notebook"][path.rpartition("/")[2]])
            case ["cat", path] if path.startswith("/config/"):
                sys.stdout.write(read_as_engine(mount / path.removeprefix("/config/")))
            case ["ls", "-A", "/config/notebook"] if service == "researcher":
                say("\n".join(self.state["notebook"]))
            case ["notebook-password"] if service == "researcher":
                if len(line.strip()) < 12:
                    return self.fail("notebook-password: a password has at least 12 characters; choose a longer one")
                self.state["password"] = line
            case _:
                unknown(command)
        return 0

    def joined(self, service: str) -> bool:
        added = any(peer.get("public_key") == key_of(service) for peer in self.state["peers"].values())
        return bool(self.state["answers"]) and added

    def doctor(self, program: str, service: str) -> int:
        found = self.state["doctors"].get(service, [{"check": "config", "state": "ok", "message": "it is there"}])
        if found is None:
            sys.stderr.write(f"{program}.py: argument COMMAND: invalid choice: 'doctor'; `--help` shows how\n")
            return 2
        say(json.dumps(found))
        return 1 if any(item["state"] == "failed" for item in found) else 0

    def say_health(self, well: bool, reason: str) -> int:
        say("healthy" if well else f"unhealthy: {reason}")
        return 0 if well else 1

    def genconf(self, mount: Path, kind: str, peer_id: str) -> int:
        if not peer_id.isalnum():
            return self.fail(f"configure_peer: {peer_id!r} is no id; use letters and digits")
        host = FIXED.get(peer_id, 2)
        peer = {"type": kind, "id": peer_id, "address": f"{RANGES[kind]}.{host}", "state": "registered"}
        self.state["peers"].setdefault(f"{kind} {peer_id}", {**peer, "latest_handshake": None})
        hub = dict(line.split("=", 1) for line in (mount / "config.env").read_text().split("\n") if "=" in line)
        values = {
            "VPN_IP": peer["address"],
            "VPN_SERVER_ENDPOINT": hub["export VPN_SERVER_PUBLIC_ADDR"] + ":51820",
            "VPN_SERVER_ALLOWED_IPS": "10.220.0.0/14",
            "VPN_SERVER_PSK": SECRET,
        }
        if kind == "node":
            values["FEDBIOMED_NODEID"] = peer_id
        path = mount / "config_peers" / kind / peer_id / "config.env"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text("".join(f"export {name}={value}\n" for name, value in values.items()))
        if self.state["closed"]:
            path.chmod(0)
        return 0

    def compose(self, arguments: list[str]) -> int:
        suffix = os.environ.get("FBM_CONTAINER_INSTANCE_ID", "")
        names = {service: f"fedbiomed-vpn-{service}{suffix}" for service in arguments}
        containers = self.state["containers"]
        match arguments:
            case ["build", service]:
                say(f"Step 1/1 : FROM something\nbuilding {service}")
                if self.state["build_fails"] == service:
                    return self.fail(
                        "E: Failed to fetch http://deb/: no route\nThe command returned a non-zero code: 100"
                    )
                self.state["images"][f"fedbiomed/vpn-{service}"] = {}
            case ["up", "-d", "--no-deps", "--no-build", *services]:
                for service in services:
                    if f"fedbiomed/vpn-{service}" not in self.state["images"]:
                        return self.fail(f"ERROR: Service '{service}' needs to be built, but --no-build was passed.")
                    self.start(service, names[service])
            case ["stop", *services]:
                for service in services:
                    containers[names[service]]["status"] = "exited"
            case ["restart", *services]:
                for service in services:
                    containers[names[service]].update(status="running", looks=self.state["looks_until_healthy"])
            case ["rm", "-s", "-f", *services]:
                for service in services:
                    del containers[names[service]]
            case ["logs", "--tail", _, "--no-color", *services]:
                for service in services:
                    sys.stdout.write(f"{names[service]} | {containers[names[service]]['log']}")
            case _:
                unknown(arguments)
        return 0

    def start(self, service: str, name: str) -> None:
        present = self.state["containers"].get(name, {})
        if present.get("status") == "running":
            return
        ends = self.state["ends_at_start"] == service
        published = {"researcher": ("8888/tcp", "127.0.0.1"), "vpnserver": ("51820/udp", "0.0.0.0")}.get(service)
        ports = {published[0]: [{"HostIp": published[1], "HostPort": published[0][:-4]}]} if published else {}
        self.state["containers"][name] = {
            "service": service,
            "folder": os.getcwd(),
            "status": "exited" if ends else "running",
            "exit_code": 3 if ends else 0,
            "restarts": 0,
            "health": "healthy",
            "looks": self.state["looks_until_healthy"],
            "said": "healthy",
            "ports": ports,
            "log": f"info: {service} starts\n" + ("error: /dev/net/tun is missing\n" if ends else ""),
        }

    @staticmethod
    def fail(line: str) -> int:
        sys.stderr.write(line + "\n")
        return 1


def unknown(arguments: list[str]) -> NoReturn:
    """End, as nothing that a test expects."""
    sys.stderr.write(f"fake: {arguments!r} is not known\n")
    sys.exit(99)


def write(path: Path, state: State) -> None:
    """Put the state in place at once: tests read it meanwhile."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(state))
    temporary.rename(path)


def main() -> int:
    """Answer one call."""
    path = Path(os.environ["FAKE_ENGINE"])
    arguments = sys.argv[1:]
    noted = {name: os.environ[name] for name in os.environ if name.startswith(("CONTAINER_", "DOCKER_", "COMPOSE_"))}
    program = os.environ["FAKE_PROGRAM"]
    hangs = arguments[-2:] == ["vpn_server", "health"]
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: State = json.loads(path.read_text())
        state["calls"].append([program, arguments, noted])
        if hangs:
            write(path, state)
        engine = Engine(state)
        try:
            return engine.docker(arguments) if program == "docker" else engine.compose(arguments)
        finally:
            write(path, state)


if __name__ == "__main__":
    sys.exit(main())
