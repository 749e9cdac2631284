"""The researcher's notebook: on loopback with a token; elsewhere with TLS and a password, or not at all."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.containers.deployment import Deployment, host_address, run

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.containers

PASSWORD = "correct horse battery staple"


def status(host: str, port: int, path: str, context: ssl.SSLContext | None = None, **headers: str) -> int:
    if context is None:
        connection = http.client.HTTPConnection(host, port, timeout=10)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=10, context=context)
    connection.request("GET", path, headers=headers)
    return connection.getresponse().status


def test_on_loopback_it_wants_its_token(deployment: Deployment) -> None:
    port = int(deployment.environ["RESEARCHER_PORT"])
    said = deployment.tool("notebook").stdout
    token = (deployment.mounts("researcher") / "config" / "notebook" / "token").read_text().strip()
    assert f"http://127.0.0.1:{port}" in said
    assert token in said
    assert len(token) >= 32
    assert status("127.0.0.1", port, "/api/contents") == 403
    assert status("127.0.0.1", port, "/api/contents?token=wrong") == 403
    assert status("127.0.0.1", port, f"/api/contents?token={token}") == 200
    with pytest.raises(OSError, match="refused"):
        status(host_address(), port, "/api")


def test_beyond_this_machine_it_wants_tls_and_a_password_or_does_not_start(
    another: Callable[..., Deployment],
) -> None:
    host = host_address()
    here = another(RESEARCHER_HOST=host)
    here.up("vpnserver")
    here.wait_healthy("vpnserver")
    here.enrol("researcher")
    port = int(here.environ["RESEARCHER_PORT"])

    def log() -> str:
        return here.compose("logs", "--no-color", "researcher").stdout

    wait_until(
        lambda: "has no password; set one: fedbiomed_vpn notebook --password" in log(), 20, "it refuses, and says why"
    )
    with pytest.raises((OSError, http.client.HTTPException)):
        status(host, port, "/api")
    assert (
        "the notebook does not start"
        in run(["docker", "exec", here.container("researcher"), "component-health"], check=False).stdout
    )

    too_short = here.tool("notebook", "--password", input="short\n", check=False)
    assert too_short.returncode == 1
    assert "12 characters" in too_short.stderr
    here.tool("notebook", "--password", input=f"{PASSWORD}\n")
    here.wait_healthy("researcher")
    folder = here.mounts("researcher") / "config" / "notebook"
    assert PASSWORD not in "".join(path.read_text() for path in folder.iterdir())
    assert {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in folder.iterdir()} == {(here.uid, 0o600)}

    context = ssl.create_default_context(cafile=folder / "cert.pem")
    assert status(host, port, "/api", context) == 200
    assert status(host, port, "/api/contents", context) == 403
    with pytest.raises((OSError, http.client.HTTPException)):
        assert status(host, port, "/api") != 200
    assert "https://" in here.tool("notebook").stdout
