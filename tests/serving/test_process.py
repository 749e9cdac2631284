"""The process beside the daemon: what it serves, and where; that it outlives what one of its addresses does."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.test_layers import loaded_by
from vpn.lib import control
from vpn.lib.serving import process, server, token
from vpn.lib.serving.server import Listener
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings

LOG = logging.getLogger("test.process")
ROOT = Path(__file__).resolve().parents[2]


def place(address: str, port: int) -> Endpoint:
    return Endpoint(ip_address(address), port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_only_the_control_endpoint_is_served_unless_more_is_asked_for(settings: Settings) -> None:
    (listener,) = process.listeners(settings, {}, LOG)
    assert (listener.host, listener.port, listener.early) == ("10.220.0.1", control.PORT, True)
    assert not (settings.folder / "wireguard" / "page.token").exists()


def test_what_is_asked_for_is_served_where_it_is_asked_for(settings: Settings) -> None:
    asked = settings._replace(metrics=place("0.0.0.0", 9586), page=place("10.220.0.1", 8080))
    found = [(listener.host, listener.port, listener.early) for listener in process.listeners(asked, {}, LOG)]
    # An address that is misspelt is told; the hub's own may come and go with wg0.
    assert found[1:] == [("0.0.0.0", 9586, False), ("10.220.0.1", 8080, True)]
    assert (settings.folder / "wireguard" / "page.token").exists()


def test_an_address_that_this_machine_does_not_have_is_an_error() -> None:
    async def nothing(*_: object) -> None:
        """Is never asked."""

    with pytest.raises(OSError, match="assign requested address"):
        server.listen(Listener("192.0.2.1", 8080, nothing))
    server.listen(Listener("192.0.2.1", 8080, nothing, early=True)).close()


def test_what_is_off_is_not_loaded() -> None:
    assert not {"jinja2", "prometheus_client"} & loaded_by("import vpn.lib.serving.process")


class Serving:
    """``vpn_server serve`` as the daemon starts it."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.log = folder.with_name("log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "vpn" / "bin" / "vpn_server.py"), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"VPN_CONFIG_DIR": str(folder), "PATH": "/nowhere", **environ},
            )

    def status(self, url: str) -> int:
        """Of a request; 0 where nothing answers."""
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


def test_page_and_metrics_are_served_until_the_end_is_asked_for(folder: Path, ports: tuple[int, int]) -> None:
    metrics, page = (f"127.0.0.1:{port}" for port in ports)
    serving = Serving(folder, VPN_METRICS=metrics, VPN_PAGE=page)
    try:
        wait_until(lambda: serving.status(f"http://{metrics}/metrics") == 200, 30, "the metrics")
        wait_until(lambda: serving.status(f"http://{page}/") == 401, 30, "the page")
        made = (folder / "wireguard" / "page.token").read_text().strip()
        assert serving.status(f"http://{page}/?token={made}") in (200, 401, 503), (
            "without a hub there is nothing to show"
        )
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(20) == 0
    finally:
        serving.process.kill()
        serving.process.wait()
    log = serving.log.read_text()
    assert f"listening on 127.0.0.1 port {ports[0]}" in log
    assert made not in log
    assert "Traceback" not in log


def test_an_address_that_is_taken_keeps_no_other_from_being_served(folder: Path, ports: tuple[int, int]) -> None:
    metrics, page = (f"127.0.0.1:{port}" for port in ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        serving = Serving(folder, VPN_METRICS=metrics, VPN_PAGE=page)
        try:
            wait_until(lambda: serving.status(f"http://{page}/") == 401, 30, "the page")
            line = f"error: cannot listen on 127.0.0.1 port {ports[0]}: Address already in use; trying again"
            wait_until(lambda: line in serving.log.read_text(), 30, "it is told")
            serving.process.send_signal(signal.SIGTERM)
            assert serving.process.wait(20) == 0, "it ends while it waits for an address"
        finally:
            serving.process.kill()
            serving.process.wait()


def test_a_token_that_cannot_be_read_keeps_nothing_else_from_being_served(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    token.load_or_make(settings)
    token.path(settings).write_text("x")
    asked = settings._replace(metrics=place("127.0.0.1", 9586), page=place("127.0.0.1", 8080))
    assert [listener.port for listener in process.listeners(asked, {}, LOG)] == [control.PORT, 9586]
    (record,) = caplog.records
    assert record.getMessage().startswith("the page is not served: ")
    assert "page.token holds no token; delete it" in record.getMessage()
