"""Waiting for a configuration, other identities, other WireGuards, two deployments, a node from elsewhere, the end."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.containers.deployment import Deployment, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.containers


def logs(deployment: Deployment, name: str) -> str:
    return deployment.compose("logs", "--no-color", name).stdout


def with_hub(deployment: Deployment) -> Deployment:
    deployment.up("vpnserver")
    deployment.wait_healthy("vpnserver")
    return deployment


def test_a_component_waits_for_its_config_and_goes_on_when_it_is_filled_and_changed(
    another: Callable[..., Deployment],
) -> None:
    here = with_hub(another())
    here.up("mqtt")
    wait_until(lambda: "waiting for" in logs(here, "mqtt"), 20, "it says what it waits for")
    config = here.mounts("mqtt") / "config" / "config.env"
    assert str(config.name) in logs(here, "mqtt")
    assert not here.healthy("mqtt")
    # Its key is there for the asking before anything else is.
    key = here.exec("mqtt", "wg", "show", "wg0", "public-key").stdout.strip()
    here.peer("genconf", "management", "mqtt")
    here.peer("add", "management", "mqtt", key)
    source = here.mounts("vpnserver") / "config" / "config_peers" / "management"
    shutil.copyfile(source / "mqtt" / "config.env", config)
    here.wait_healthy("mqtt")

    # Another place in the VPN: the broker has to listen there.
    here.peer("removeconf", "management", "mqtt")
    here.peer("genconf", "management", "other")
    here.peer("add", "management", "other", key)
    shutil.copyfile(source / "other" / "config.env", config)
    wait_until(lambda: here.ping("mqtt"), 30, "it joins as another")
    here.wait_healthy("mqtt")
    assert "VPN_IP=10.220.0.4" in config.read_text()
    assert config.stat().st_uid == here.uid


def test_an_image_runs_as_whoever_it_is_told_to_files_included(another: Callable[..., Deployment]) -> None:
    here = with_hub(another())
    here.enrol("mqtt")
    here.compose("rm", "-sf", "mqtt", "vpnserver")
    here.environ.update(CONTAINER_UID="2345", CONTAINER_GID="2346", CONTAINER_USER="other", CONTAINER_GROUP="others")
    here.uid = 2345
    with_hub(here)
    here.up("mqtt")
    here.wait_healthy("mqtt")
    for name in ("vpnserver", "mqtt"):
        for path in (here.mounts(name) / "config").rglob("*"):
            assert (path.lstat().st_uid, path.lstat().st_gid) == (2345, 2346), path
    said = here.compose("exec", "-T", "-u", "2345", "mqtt", "id", "-un").stdout
    assert said == "other\n"


def test_an_identity_that_is_none_is_named(another: Callable[..., Deployment]) -> None:
    here = another(CONTAINER_UID="root")
    here.up("mqtt")
    wait_until(lambda: "must be numbers, as `id -u`" in logs(here, "mqtt"), 20, "it says what is wrong")


@pytest.mark.parametrize("wireguard", ["gotatun", "wireguard-go"])
def test_every_wireguard_carries_hub_and_component_and_shows_its_key(
    another: Callable[..., Deployment], wireguard: str
) -> None:
    here = with_hub(another(VPN_WIREGUARD=wireguard))
    key = here.enrol("mqtt")
    assert key == here.exec("mqtt", "vpn_client", "public-key").stdout.strip()
    here.wait_healthy("mqtt")
    assert f"with {wireguard}" in logs(here, "vpnserver")


def test_two_deployments_live_side_by_side(another: Callable[..., Deployment]) -> None:
    first, second = with_hub(another()), with_hub(another())
    keys = {first.enrol("mqtt"), second.enrol("mqtt")}
    assert len(keys) == 2
    for deployment in (first, second):
        deployment.wait_healthy("vpnserver", "mqtt")
        assert [peer["state"] for peer in json.loads(deployment.peer("list", "--json").stdout)] == ["active"]
    first.compose("down", "-t", "3")
    assert second.ping("mqtt")


def test_a_node_runs_from_an_image_that_was_built_elsewhere(another: Callable[..., Deployment], tmp_path: Path) -> None:
    here = with_hub(another())
    # On the machine that builds.
    archive, files = tmp_path / "vpn-node-image.tar.gz", tmp_path / "vpn-node-files.tar.gz"
    run(["sh", "-c", f"docker image save fedbiomed/vpn-node | gzip -1 > {archive}"])
    run(["tar", "cvzf", files, "./docker-compose_run_node.yml", "./node/run_mounts"], cwd=here.folder)
    # On the node's.
    elsewhere = tmp_path / "elsewhere" / "docker"
    elsewhere.mkdir(parents=True)
    run(["sh", "-c", f"docker image load < {archive}"])
    run(["tar", "xvzf", files], cwd=elsewhere)
    run(["mv", "docker-compose_run_node.yml", "docker-compose.yml"], cwd=elsewhere)
    here.peer("genconf", "node", "node1")
    source = here.mounts("vpnserver") / "config" / "config_peers" / "node" / "node1" / "config.env"
    shutil.copyfile(source, elsewhere / "node" / "run_mounts" / "config" / "config.env")
    environ = {
        **here.environ,
        "FBM_CONTAINER_INSTANCE_ID": f"{here.instance}-far",
        "COMPOSE_PROJECT_NAME": "far" + here.instance,
    }

    def compose(*arguments: str) -> str:
        return run(["docker-compose", *arguments], cwd=elsewhere, env=environ).stdout

    try:
        compose("up", "-d", "node")
        here.peer("add", "node", "node1", compose("exec", "-T", "node", "wg", "show", "wg0", "public-key").strip())
        container = f"fedbiomed-vpn-node{here.instance}-far"
        ping = ["docker", "container", "exec", container, "ping", "-c", "1", "-W", "1", "10.220.0.1"]
        wait_until(lambda: run(ping, check=False).returncode == 0, 30, "it joins")
    finally:
        compose("down", "-t", "3")


def test_cleaning_by_the_procedure_s_own_commands_needs_no_root(another: Callable[..., Deployment]) -> None:
    here = with_hub(another())
    here.enrol("mqtt")
    here.enrol("node")
    (here.mounts("node") / "data" / "set.csv").write_text("a,b\n")
    script = """
        docker-compose rm -sf vpnserver mqtt node
        setpriv --reuid={uid} --regid={uid} --clear-groups sh -e -c '
            rm -rf vpnserver/run_mounts/config/config_peers vpnserver/run_mounts/config/ip_assign \
                vpnserver/run_mounts/config/wireguard
            rm -rf ./mqtt/run_mounts/config/wireguard
            echo > ./mqtt/run_mounts/config/config.env
            rm -rf ./node/run_mounts/config/wireguard
            echo > ./node/run_mounts/config/config.env'
        rm -rf ./node/run_mounts/data/*
    """
    for path in (here.folder.parent, here.folder.parent.parent, here.folder.parent.parent.parent):
        path.chmod(path.stat().st_mode | 0o011)
    run(["sh", "-e", "-c", script.format(uid=here.uid)], cwd=here.folder, env=here.environ)
    left = {
        str(path.relative_to(here.folder))
        for name in ("vpnserver", "mqtt", "node")
        for path in here.mounts(name).rglob("*")
    }
    assert {path for path in left if not path.endswith(".gitkeep")} == {
        *("vpnserver/run_mounts/config", "vpnserver/run_mounts/config/config.env"),
        *("mqtt/run_mounts/config", "mqtt/run_mounts/config/config.env", "mqtt/run_mounts/data"),
        *(
            "node/run_mounts/config",
            "node/run_mounts/config/config.env",
            "node/run_mounts/data",
            "node/run_mounts/fbm-node",
        ),
    } | {path for path in left if path.startswith("mqtt/run_mounts/data/")}
    # And it begins anew, with another hub key.
    with_hub(here)
    here.enrol("mqtt")
    here.wait_healthy("mqtt")
