"""The page's token: made once, kept secret."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from tests.registry.snapshot import mode_of
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.serving import token
from vpn.lib.wireguard.types import Endpoint

if TYPE_CHECKING:
    from vpn.lib.hub.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def there(settings: Settings) -> Settings:
    """Settings with the page."""
    return settings._replace(page=Endpoint(ip_address("127.0.0.1"), 8080))


def test_a_token_is_made_once_and_only_its_owner_can_read_it(there: Settings) -> None:
    made = token.load_or_make(there)
    assert len(made) >= 43
    assert token.load_or_make(there) == made
    assert mode_of(token.path(there)) == 0o600
    assert token.url(there) == f"http://127.0.0.1:8080/?token={made}"


def test_every_hub_has_another(there: Settings) -> None:
    first = token.load_or_make(there)
    token.path(there).unlink()
    assert token.load_or_make(there) != first


def test_many_who_ask_at_once_get_the_same(there: Settings) -> None:
    barrier, found = Barrier(8), []

    def ask() -> None:
        barrier.wait()
        found.append(token.load_or_make(there))

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_token_that_others_could_read_is_theirs_no_longer(there: Settings) -> None:
    token.load_or_make(there)
    token.path(there).chmod(0o644)
    token.load_or_make(there)
    assert mode_of(token.path(there)) == 0o600


@pytest.mark.parametrize("damage", ["", "short", "x" * 20 + "/" + "x" * 30, "\u00e9" * 40])
def test_a_file_without_a_token_is_named(there: Settings, damage: str) -> None:
    token.load_or_make(there)
    token.path(there).write_text(damage)
    with pytest.raises(InvalidInput, match=r"page\.token holds no token; delete it"):
        token.load_or_make(there)


def test_a_page_that_is_off_has_no_address(settings: Settings) -> None:
    with pytest.raises(Refused, match=r"the page is off; write `export VPN_PAGE=127.0.0.1:8080` into .*config.env"):
        token.url(settings)
    assert not token.path(settings).exists()


def command(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "vpn" / "bin" / "vpn_server.py"), "page"],
        capture_output=True,
        text=True,
        check=False,
        env={"VPN_CONFIG_DIR": str(folder), **environ},
    )


def test_the_command_prints_the_address_and_nothing_else(tmp_path: Path) -> None:
    done = command(tmp_path, VPN_PAGE="127.0.0.1:8080")
    made = (tmp_path / "wireguard" / "page.token").read_text().strip()
    assert (done.returncode, done.stdout, done.stderr) == (0, f"http://127.0.0.1:8080/?token={made}\n", "")
    refused = command(tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("vpn_server: the page is off; write")
    assert refused.stderr.count("\n") == 1
