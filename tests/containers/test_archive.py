"""A node handed over as one archive, and a deployment taken apart, with the host tool."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.containers.deployment import ROOT, Deployment, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.containers


def with_hub(deployment: Deployment) -> Deployment:
    deployment.up("vpnserver")
    deployment.wait_healthy("vpnserver")
    return deployment


def test_a_node_is_exported_imported_and_started_in_one_step_each(
    another: Callable[..., Deployment], tmp_path: Path
) -> None:
    here = with_hub(another())
    archive, folder = tmp_path / "node.tar", tmp_path / "far"
    here.tool("export", "node", str(archive))
    damaged = tmp_path / "damaged.tar"
    shutil.copyfile(archive, damaged)
    with damaged.open("r+b") as file:
        file.seek(damaged.stat().st_size // 2)
        file.write(b"damage")
    tool: list[str | Path] = ["python3", ROOT / "vpn" / "bin" / "fedbiomed_vpn.py"]
    environ = {**here.environ, "FBM_CONTAINER_INSTANCE_ID": f"{here.instance}-far"}
    refused = run([*tool, "import", damaged, "--into", folder], check=False, env=environ)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "damaged" in refused.stderr
    assert not folder.exists()

    run([*tool, "import", archive, "--into", folder], env=environ)
    here.peer("genconf", "node", "node1")
    source = here.mounts("vpnserver") / "config" / "config_peers" / "node" / "node1" / "config.env"
    shutil.copyfile(source, folder / "node" / "run_mounts" / "config" / "config.env")
    try:
        said = run([*tool, "start", "node", "--wait", "1", "--folder", folder], env=environ).stdout
        (line,) = (line for line in said.splitlines() if "configure_peer.py add node node1" in line)
        here.peer("add", "node", "node1", line.split()[-1])

        def joined() -> bool:
            state = run([*tool, "status", "--json", "--folder", folder], check=False, env=environ)
            return bool(json.loads(state.stdout)["ok"])

        wait_until(joined, 60, "it has joined", pause=0.5)
    finally:
        subprocess.run(["docker-compose", "down", "-t", "3"], cwd=folder, env=environ, capture_output=True, check=False)


def test_start_does_the_whole_procedure_and_clean_undoes_it(another: Callable[..., Deployment]) -> None:
    here = another()
    here.tool("start", "vpnserver", "mqtt")
    assert "was registered already" in here.peer("genconf", "management", "mqtt").stdout
    status = json.loads(here.tool("status", "--json").stdout)
    assert status["ok"]
    assert {one["name"]: one["address"] for one in status["components"] if one["state"] == "running"} == {
        "vpnserver": "10.220.0.1",
        "mqtt": "10.220.0.2",
    }
    key = here.exec("mqtt", "vpn_client", "public-key").stdout
    here.tool("start", "vpnserver", "mqtt")
    assert here.exec("mqtt", "vpn_client", "public-key").stdout == key

    refused = here.tool("clean", "2", check=False, stdin=subprocess.DEVNULL)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert here.ping("mqtt")
    here.tool("clean", "1", "mqtt", "--yes")
    assert here.tool("status", check=False).returncode == 0
    assert (here.mounts("mqtt") / "config" / "wireguard" / "private.key").exists()
    here.tool("clean", "2", "--yes")
    left = {path.name for name in ("vpnserver", "mqtt") for path in (here.mounts(name) / "config").iterdir()}
    assert left - {".gitkeep"} == {"config.env"}
    assert (here.mounts("mqtt") / "config" / "config.env").read_text() == "\n"
    assert "VPN_SERVER_PUBLIC_ADDR" in (here.mounts("vpnserver") / "config" / "config.env").read_text()
    assert not run(["docker", "ps", "-aq", "--filter", f"name={here.instance}$"]).stdout
