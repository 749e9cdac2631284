"""The dashboard and the alerts of docs/monitoring: of metrics that there are, and loaded by the real program."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from lab.served import Served
from tests.serving.exposed import PREFIX
from vpn.lib.hub import status
from vpn.lib.hub.status import Status
from vpn.lib.serving import metrics, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "monitoring"
ALERTS = FOLDER / "alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
PROMTOOL = ROOT / ".tools" / "bin" / "promtool"
# What promtool takes for a metric's name, and is none of ours.
METRIC = re.compile(rf"\b{PREFIX}[a-z0-9_]+")


def promtool(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROMTOOL, *arguments], input=given, capture_output=True, text=True, check=False, timeout=120, cwd=FOLDER
    )


@pytest.fixture
def exposition(running: Hub, settings: Settings, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """All that can be exposed: with each component, and with a problem."""
    monkeypatch.setattr(reading, "KEPT", 0.0)
    status.save(settings, Status("boringtun", "boringtun hangs"))
    with Served(metrics.application(settings._replace(metrics_per_peer=True), environ)) as served:
        return served.ask("/metrics").text


@pytest.fixture
def names(exposition: str) -> set[str]:
    """The names of all samples."""
    return {match[0] for line in exposition.splitlines() if (match := METRIC.match(line))}


def expressions() -> list[str]:
    """What the dashboard asks Prometheus."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*asked, *(variable["query"]["query"] for variable in DASHBOARD["templating"]["list"])]


@pytest.mark.parametrize("text", [ALERTS.read_text(), "\n".join(expressions())], ids=["alerts", "dashboard"])
def test_only_metrics_that_there_are_are_asked_for(names: set[str], text: str) -> None:
    asked = set(METRIC.findall(text))
    assert len(asked) > 5
    assert asked <= names


def test_the_documentation_names_all_metrics_and_no_others(names: set[str]) -> None:
    assert set(METRIC.findall((FOLDER.parent / "monitoring.md").read_text())) == names


def test_labels_that_are_chosen_by_exist(exposition: str) -> None:
    for name, chosen in re.findall(
        rf"({PREFIX}[a-z0-9_]+)\{{([^}}]*)\}}", "\n".join([*expressions(), ALERTS.read_text()])
    ):
        for label in re.findall(r"(\w+)!?=", chosen):
            # `instance` and `job` come from the scrape.
            if label not in ("instance", "job"):
                assert re.search(rf'^{name}\{{.*\b{label}="', exposition, re.MULTILINE), (name, label)


def test_prometheus_finds_nothing_to_criticise_in_the_metrics(exposition: str) -> None:
    done = promtool("check", "metrics", given=exposition)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # It would find something in these.
    assert promtool("check", "metrics", given="# TYPE fooBar counter\nfooBar 1\n").returncode != 0


def test_prometheus_loads_the_alerts() -> None:
    done = promtool("check", "rules", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 11 rules found" in done.stdout


def test_the_alerts_are_raised_when_they_should_be_and_not_before() -> None:
    done = promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    """As its schema has it (schema version 38, Grafana 10), and the form of a dashboard that is exported to share."""
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] == 38
    assert DASHBOARD["id"] is None, "one that is imported gets an id of the Grafana that it is imported into"
    (given,) = DASHBOARD["__inputs"]
    assert (given["type"], given["pluginId"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": f"${{{given['name']}}}"}
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    known = {item["id"] for item in DASHBOARD["__requires"] if item["type"] == "panel"}
    for panel in panels:
        assert panel["type"] in known
        assert panel["datasource"] == source
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert target["expr"].count("(") == target["expr"].count(")")


def test_grafanas_own_model_of_a_dashboard_knows_all_that_is_in_it() -> None:
    read = Dashboard.from_json(DASHBOARD).to_json()
    written: dict[str, Any] = json.loads(json.dumps(read, default=lambda part: part.to_json()))
    # What an exported dashboard has for its import, and what Grafana adds for those that it has.
    beside = {"/__inputs", "/__requires", "/id", "/templating/list[0]/definition"}
    assert set(unknown(DASHBOARD, written)) == beside


def unknown(given: object, known: object, path: str = "") -> Iterator[str]:
    """The places of what is given and not known."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, part in given.items():
            if name in known:
                yield from unknown(part, known[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}"
    elif isinstance(given, list) and isinstance(known, list):
        for number, (part, other) in enumerate(zip(given, known, strict=True)):
            yield from unknown(part, other, f"{path}[{number}]")
    elif given != known:
        yield path


def test_no_two_panels_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [
        {"record": f"asked:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions())
        if not expression.startswith("label_values(")
    ]
    # JSON is YAML.
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
