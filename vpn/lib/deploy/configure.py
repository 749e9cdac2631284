"""``configure``: the hub's public address and port, in the files where the containers look for them."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import config_env, files
from vpn.lib.deploy.components import COMPONENTS, HUB
from vpn.lib.deploy.folder import SETTINGS_FILE, owner_to_keep
from vpn.lib.errors import InvalidInput, StateError

if TYPE_CHECKING:
    from vpn.lib.deploy.console import Console
    from vpn.lib.deploy.engine import Engine
    from vpn.lib.deploy.folder import Deployment

ADDRESS = "VPN_SERVER_PUBLIC_ADDR"
PORT = "VPN_SERVER_PORT"
ROUTES = Path("/proc/net/route")
_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?$"
)


class Configured(NamedTuple):
    """The hub's address, why it is that one, and whether anything was written."""

    address: str
    why: str
    changed: bool


def configured_address(deployment: Deployment) -> str:
    """The hub's public address in its config.env; empty where there is none.

    Raises StateError when the file cannot be read, InvalidInput when it is damaged.
    """
    try:
        return config_env.load(deployment.config(COMPONENTS[HUB])).get(ADDRESS, "")
    except FileNotFoundError:
        return ""


def configure(engine: Engine, console: Console, address: str | None, port: int | None) -> Configured:
    """Write the address and, where one is given, the port; what is there already stays, comments too.

    Raises InvalidInput for what is no address or port, StateError when a file cannot be written.
    """
    deployment = engine.deployment
    if port is not None:
        require_port(port)
    before = configured_address(deployment)
    if address is not None:
        chosen, why = parse_address(address), "as given"
    elif before:
        chosen, why = before, "as it was"
    else:
        chosen, why = default_address(engine)
    changed = False
    if chosen != before:
        changed |= _write(deployment.config(COMPONENTS[HUB]), ADDRESS, chosen, export=True, mode=files.FILE_MODE)
    if port is not None:
        changed |= _write(deployment.folder / SETTINGS_FILE, PORT, str(port), export=False, mode=0o644)
    console.done(f"components reach the hub at {chosen} ({why})")
    if why not in ("as given", "as it was"):
        console.say(
            "  Components on other machines need an address that they can reach:"
            " `fedbiomed_vpn configure --public-address ADDRESS`."
        )
    return Configured(chosen, why, changed)


def parse_address(text: str) -> str:
    """A host name or an address. Raises InvalidInput for anything else."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if re.fullmatch(r"[0-9.]+", text) is None and _HOST_NAME.fullmatch(text):
            return text
    raise InvalidInput(
        f"--public-address {text[:60]!r} is no host name and no address; give one, such as vpn.example.org or 192.0.2.1"
    )


def require_port(port: int) -> None:
    """Raise InvalidInput for what is no UDP port."""
    if not 1 <= port <= 65535:
        raise InvalidInput(f"--port {port} is no UDP port; give one from 1 to 65535")


def default_address(engine: Engine) -> tuple[str, str]:
    """The address from which this machine reaches the internet, else Docker's own of it; and which of them it is.

    Raises InvalidInput where there is neither.
    """
    if has_default_route(ROUTES) and (address := _source_address()):
        return address, "this machine's address towards its default route"
    bridge = engine.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").out.strip()
    try:
        return str(ipaddress.ip_address(bridge)), "Docker's address of this machine: it has no default route"
    except ValueError:
        raise InvalidInput(
            "this machine has no address that components could reach; give one with --public-address"
        ) from None


def has_default_route(routes: Path) -> bool:
    """Whether the kernel's table of IPv4 routes holds one to everywhere that is up."""
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:
        return False
    rows = [line.split() for line in lines]
    return any(len(row) > 7 and row[1] == row[7] == "00000000" and int(row[3], 16) & 1 for row in rows)


def _source_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: a datagram socket's connect only looks up the route. The address is nobody's (RFC 5737).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def assigned(text: str, name: str, value: str, *, export: bool) -> str:
    """``text`` with the variable set: on its own line where it has one, else at the end. Other lines stay."""
    line = f"{'export ' if export else ''}{name}={value}"
    pattern = re.compile(rf"^[ \t]*(export[ \t]+)?{re.escape(name)}=.*$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(lambda _: line, text, count=1)
    return text + ("" if text.endswith("\n") or not text else "\n") + line + "\n"


def _write(path: Path, name: str, value: str, *, export: bool, mode: int) -> bool:
    """Set a variable in a file; true if that changed it."""
    try:
        before = files.read_text(path)
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        before = ""
    after = assigned(before, name, value, export=export)
    if after == before:
        return False
    config_env.parse(after, str(path))
    if not path.parent.is_dir():
        raise StateError(f"{path.parent} is not there; unpack the whole project again")
    files.write(path, after.encode(), owner=owner_to_keep(path), mode=mode)
    return True
