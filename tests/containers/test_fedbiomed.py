"""A federated training with the real Fed-BioMed: one researcher, two nodes, two rounds, across the VPN."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.containers.deployment import Deployment, run

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.fedbiomed, pytest.mark.timeout(900)]

SLOPES = {"node1": 2.0, "node2": 6.0}
"""Each node's data has a slope of its own: only a model that both took part in lies between."""

TRAINING = """
import json, sys, time
from fedbiomed.common.datamanager import DataManager
from fedbiomed.common.dataset import TabularDataset
from fedbiomed.common.training_plans import FedSGDRegressor
from fedbiomed.researcher.aggregators.fedavg import FedAverage
from fedbiomed.researcher.config import config
from fedbiomed.researcher.federated_workflows import Experiment
from fedbiomed.researcher.requests import Requests

PLAN = '''
from fedbiomed.common.datamanager import DataManager
from fedbiomed.common.dataset import TabularDataset
from fedbiomed.common.training_plans import FedSGDRegressor

class Plan(FedSGDRegressor):
    def init_dependencies(self):
        return ["from fedbiomed.common.dataset import TabularDataset"]

    def training_data(self):
        return DataManager(dataset=TabularDataset(input_columns=["x"], target_columns=["y"]), shuffle=True)
'''
open("/tmp/plan.py", "w").write(PLAN)
sys.path.insert(0, "/tmp")
from plan import Plan

requests = Requests(config=config)
deadline = time.time() + 240
while len(found := requests.search(["slopes"])) < 2:
    assert time.time() < deadline, f"only {list(found)} answered"
    time.sleep(1)
experiment = Experiment(
    tags=["slopes"],
    training_plan_class=Plan,
    model_args={"n_features": 1, "eta0": 0.05, "learning_rate": "constant", "alpha": 0.0},
    training_args={"epochs": 20, "loader_args": {"batch_size": 10}},
    round_limit=2,
    aggregator=FedAverage(),
)
experiment.run()
rounds = experiment.aggregated_params()
replies = experiment.training_replies()
print("RESULT " + json.dumps({
    "rounds": len(rounds),
    "slope": float(rounds[1]["params"]["coef_"].reshape(-1)[0]),
    "nodes": [sorted(replies[number]) for number in sorted(replies)],
    "each": {node: float(reply["params"]["coef_"].reshape(-1)[0]) for node, reply in replies[1].items()},
}))
"""

COUNTING = """
table inet vpntest {
    counter inside { }
    counter outside { }
    chain received {
        type filter hook prerouting priority -300
        iifname "wg0" tcp dport 50051 counter name "inside"
        iifname != { "wg0", "lo" } tcp dport 50051 counter name "outside"
    }
    chain sent {
        type filter hook postrouting priority 300
        oifname "wg0" tcp sport 50051 counter name "inside"
        oifname != { "wg0", "lo" } tcp sport 50051 counter name "outside"
    }
}
"""


def counted(here: Deployment) -> dict[str, int]:
    """Bytes of the researcher's port, by the way that they took."""
    command = [
        "docker",
        "exec",
        here.container("researcher"),
        "nft",
        "-j",
        "list",
        "counters",
        "table",
        "inet",
        "vpntest",
    ]
    found = json.loads(run(command).stdout)["nftables"]
    return {item["counter"]["name"]: item["counter"]["bytes"] for item in found if "counter" in item}


def bring_data(here: Deployment, slope: float) -> None:
    """A CSV with this slope, registered with the node."""
    data = here.mounts("node") / "data"
    rows = [f"{x / 50},{slope * x / 50}" for x in range(-50, 50)]
    (data / "set.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    described = {
        "name": "slopes",
        "data_type": "csv",
        "tags": "slopes",
        "description": "slopes",
        "path": "/data/set.csv",
    }
    (data / "data.json").write_text(json.dumps(described))
    command = ["docker", "exec", "-u", str(here.uid), here.container("node"), "bash", "-c"]
    wait_until(lambda: (here.mounts("node") / "fbm-node" / "etc" / "config.ini").exists(), 120, "the node is made")
    run([*command, "fedbiomed node -p /fbm-node dataset add --file /data/data.json"])


def test_a_model_is_trained_by_two_nodes_and_all_of_it_goes_through_the_vpn(
    another: Callable[..., Deployment],
) -> None:
    here = another()
    here.up("vpnserver")
    here.wait_healthy("vpnserver")
    here.enrol("researcher")
    here.enrol("node")
    far = another(VPN_SERVER_PORT=here.environ["VPN_SERVER_PORT"])
    here.peer("genconf", "node", "node2")
    source = here.mounts("vpnserver") / "config" / "config_peers" / "node" / "node2" / "config.env"
    shutil.copyfile(source, far.mounts("node") / "config" / "config.env")
    far.up("node")
    here.peer("add", "node", "node2", far.exec("node", "wg", "show", "wg0", "public-key").stdout.strip())

    here.wait_healthy("researcher", "node", seconds=180)
    far.wait_healthy("node", seconds=180)
    bring_data(here, SLOPES["node1"])
    bring_data(far, SLOPES["node2"])
    run(["docker", "exec", "-i", here.container("researcher"), "nft", "-f", "-"], input=COUNTING)

    command = ["docker", "exec", "-i", "-u", str(here.uid), here.container("researcher"), "bash", "-c"]
    done = run([*command, "cd /fbm-researcher && exec python -"], input=TRAINING, limit=600)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    assert result["rounds"] == 2
    assert [len(nodes) for nodes in result["nodes"]] == [2, 2]
    assert sorted(round(slope) for slope in result["each"].values()) == [2, 6]
    assert 3.0 < result["slope"] < 5.0
    traffic = counted(here)
    assert traffic["inside"] > 10_000
    assert traffic["outside"] == 0
