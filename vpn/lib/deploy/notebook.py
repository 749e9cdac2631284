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
    """The notebook's address, with the token that lets its reader in, unless it asks for a password.

    Raises Refused, saying what to do, where the researcher does not run, or has no notebook.
    """
    container = require_running(engine)
    researcher = COMPONENTS[RESEARCHER]
    present = engine.execute(researcher, "ls", "-A", FOLDER).out.split()
    if "token" not in present and "password.hash" not in present:
        raise Refused(
            "the researcher has no notebook yet; it makes one once it has joined (`fedbiomed_vpn status` says what it"
            " waits for)"
        )
    if PORT not in container.published:
        raise Refused(
            "the researcher's container publishes no notebook; start it with this project's docker-compose.yml"
        )
    host, port = container.published[PORT]
    host = "localhost" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    address = f"{'https' if 'cert.pem' in present else 'http'}://{host}:{port}/"
    if "password.hash" in present:
        # It goes before the token, which the notebook then does not take.
        return address
    token = engine.execute(researcher, "cat", f"{FOLDER}/token")
    if token.status != 0:
        raise EngineError(f"the researcher does not show the notebook's token: {token.why()}")
    return f"{address}?token={token.out.strip()}"


def set_password(engine: Engine, password: str) -> None:
    """Give the notebook a password. Raises InvalidInput for an empty one, EngineError with what the container says.

    It goes to the container's standard input: an argument could be seen by everybody on this machine.
    """
    if not password:
        raise InvalidInput("an empty password lets everybody in; type one")
    require_running(engine)
    result = engine.execute(COMPONENTS[RESEARCHER], "notebook-password", data=password + "\n")
    if result.status != 0:
        raise EngineError(f"the password is not set: {result.why().removeprefix('notebook-password: ')}")


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
