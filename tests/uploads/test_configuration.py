"""What the environment may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from uploads.configuration import Configuration, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_only_the_address_and_the_folder_are_needed(tmp_path: Path) -> None:
    configuration = Configuration.from_environment({"VPN_IP": "10.220.0.3", "UPLOADS_FOLDER": str(tmp_path)})
    assert configuration == Configuration("10.220.0.3", 8000, tmp_path, 10 << 30, ())
    assert configuration.bind == "10.220.0.3:8000"


def test_all_that_can_be_set(tmp_path: Path) -> None:
    environ = {
        "VPN_IP": "fd00::3",
        "UPLOADS_FOLDER": str(tmp_path),
        "UPLOADS_PORT": "80",
        "UPLOADS_MAX_BYTES": "1",
        "UPLOADS_HOSTS": "a.example, b.example,",
    }
    configuration = Configuration.from_environment(environ)
    assert configuration.bind == "[fd00::3]:80"
    assert configuration.max_bytes == 1
    assert configuration.hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VPN_IP", ""),
        ("VPN_IP", "0"),
        ("VPN_IP", "restful"),
        ("VPN_IP", "10.220.0.3/16"),
        ("UPLOADS_FOLDER", "/nonexistent"),
        ("UPLOADS_FOLDER", "/etc/passwd"),
        ("UPLOADS_PORT", "0"),
        ("UPLOADS_PORT", "65536"),
        ("UPLOADS_PORT", "http"),
        ("UPLOADS_MAX_BYTES", "-1"),
        ("UPLOADS_MAX_BYTES", "10G"),
        ("UPLOADS_MAX_BYTES", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("UPLOADS_MAX_BYTES", "9" * 5000),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, name: str, value: str) -> None:
    environ = {"VPN_IP": "10.220.0.3", "UPLOADS_FOLDER": str(tmp_path), name: value}
    with pytest.raises(ConfigurationError) as refused:
        Configuration.from_environment(environ)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_it_never_listens_on_all_addresses(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigurationError, match="VPN_IP"):
        Configuration.from_environment({"VPN_IP": address, "UPLOADS_FOLDER": str(tmp_path)})
