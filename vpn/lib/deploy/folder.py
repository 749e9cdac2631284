"""The deployment's folder: its compose file, its settings, and the folders that are mounted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from vpn.lib import config_env
from vpn.lib.deploy.components import COMPONENTS, HUB, Component
from vpn.lib.errors import InvalidInput, StateError
from vpn.lib.files import Owner, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPOSE_FILE = "docker-compose.yml"
SETTINGS_FILE = ".env"
CONFIG = ("run_mounts", "config")
CONFIG_FILE = "config.env"

_TOOL = Path(__file__).resolve().parents[3]
"""The checkout, or the unpacked archive, that this module is in."""


class Deployment:
    """One deployment on this machine. ``environ`` goes before the folder's ``.env``, as in docker-compose."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.services = services(read_text(folder / COMPOSE_FILE))
        try:
            self._settings = config_env.load(folder / SETTINGS_FILE)
        except FileNotFoundError:
            self._settings = {}

    def setting(self, name: str, default: str = "") -> str:
        """What docker-compose takes for ``${name:-default}``."""
        return self.environ.get(name, self._settings.get(name, "")) or default

    def container(self, component: Component) -> str:
        """The name of the component's container."""
        return f"fedbiomed-vpn-{component.name}{self.setting('FBM_CONTAINER_INSTANCE_ID')}"

    def config(self, component: Component) -> Path:
        """The component's config.env on this machine."""
        return self.folder.joinpath(component.name, *CONFIG, CONFIG_FILE)

    def handed_out(self, component: Component, peer_id: str) -> Path:
        """The config.env that the hub on this machine makes for the component."""
        return self.folder.joinpath(HUB, *CONFIG, "config_peers", component.peer_type, peer_id, CONFIG_FILE)

    def variables(self, component: Component) -> dict[str, str] | None:
        """The variables of the component's config.env; None where it is missing, or is another's to read.

        Raises InvalidInput for one that is damaged.
        """
        try:
            return config_env.load(self.config(component))
        except FileNotFoundError:
            return None
        except StateError as error:
            if isinstance(error.__cause__, PermissionError):
                return None
            raise
        except PermissionError:
            return None


def locate(given: str | None, environ: Mapping[str, str], here: Path) -> Deployment:
    """The deployment in the folder that was given; else here; else in the checkout that this tool belongs to.

    Raises InvalidInput where there is none.
    """
    if given is not None:
        folder = Path(given)
        if not _is_ours(folder):
            raise InvalidInput(f"{folder} holds no {COMPOSE_FILE} of this project; name the folder that does")
        return Deployment(folder.resolve(), environ)
    for folder in (here, _TOOL / "docker", _TOOL):
        if _is_ours(folder):
            return Deployment(folder.resolve(), environ)
    raise InvalidInput(
        f"there is no {COMPOSE_FILE} of this project here; go to the folder that holds it, or name it with --folder"
    )


def services(text: str) -> tuple[str, ...]:
    """The components that a compose file of ours has: the keys of ``services``, at an indent of two."""
    inside, found = False, []
    for line in text.splitlines():
        if re.match(r"[A-Za-z]", line):
            inside = line.startswith("services:")
        elif inside and (match := re.match(r"  ([a-z]+):", line)) and match[1] in COMPONENTS:
            found.append(match[1])
    return tuple(found)


def owner_to_keep(path: Path) -> Owner | None:
    """Whom a file that root writes there is to belong to: its owner now, or its folder's. None for others than root."""
    import os

    if os.geteuid() != 0:
        return None
    status = (path if path.exists() else path.parent).stat()
    return Owner(status.st_uid, status.st_gid)


def _is_ours(folder: Path) -> bool:
    try:
        return bool(services(read_text(folder / COMPOSE_FILE)))
    except (OSError, StateError, InvalidInput):
        return False
