"""``notebook``: where the researcher's notebook is, and its password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib.deploy.components import COMPONENTS, RESEARCHER
from vpn.lib.errors import EngineError, InvalidInput, Refused

if TYPE_CHECKING:
    from typing import TextIO

    from vpn.lib.deploy.engine import Container, Engine

FOLDER = "/config/notebook"
PORT = "8888/tcp"
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  (compared with, never bound to)


def url(engine: Engine) -> str:
    """The notebook's address, with the token that lets its reader in.

    Raises Refused, saying what to do, where the researcher does not run, or has no notebook.
    """
    container = require_running(engine)
    researcher = COMPONENTS[RESEARCHER]
    token = engine.execute(researcher, "cat", f"{FOLDER}/token")
    if token.status != 0:
        raise Refused(
            "the researcher has no notebook yet; it makes one once it has joined (`fedbiomed_vpn status`), and not from"
            " an image that was built with FEDBIOMED=none"
        )
    if PORT not in container.published:
        raise Refused(
            "the researcher's container publishes no notebook; start it with this project's docker-compose.yml"
        )
    secure = engine.execute(researcher, "test", "-e", f"{FOLDER}/cert.pem").status == 0
    host, port = container.published[PORT]
    host = "localhost" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{host}:{port}/?token={token.out.strip()}"


def set_password(engine: Engine, password: str) -> None:
    """Give the notebook a password. Raises InvalidInput for an empty one, EngineError with what the container says.

    It goes to the container's standard input: an argument could be seen by everybody on this machine.
    """
    if not password:
        raise InvalidInput("an empty password lets everybody in; type one")
    require_running(engine)
    result = engine.execute(COMPONENTS[RESEARCHER], "notebook-password", data=password + "\n")
    if result.status != 0:
        raise EngineError(f"the password is not set: {result.why()}")


def ask_password(stdin: TextIO) -> str:
    """The password: asked for twice on a terminal, without showing it; else the first line. Raises InvalidInput."""
    if not stdin.isatty():
        return stdin.readline().rstrip("\r\n")
    import getpass

    try:
        password = getpass.getpass("Password for the notebook: ")
        again = getpass.getpass("The same once more: ")
    except EOFError:
        raise InvalidInput("no password was typed; run it again") from None
    if password != again:
        raise InvalidInput("the two are not the same; nothing is changed, run it again")
    return password


def require_running(engine: Engine) -> Container:
    """The researcher's container. Raises Refused, saying what to do, where it does not run."""
    researcher = COMPONENTS[RESEARCHER]
    if RESEARCHER not in engine.deployment.services:
        raise Refused("this deployment has no researcher; run this on the researcher's machine")
    container = engine.containers([researcher]).get(RESEARCHER)
    if container is None or not container.running:
        raise Refused("the researcher is not running; `fedbiomed_vpn start researcher` starts it")
    return container
