"""The dashboard and the alerts in deploy/ ask for what servers tell."""

from __future__ import annotations

import json
import re
from typing import Any

import promql_parser
import pytest
import yaml

from holdfast_server.core.errors import CATALOGUE
from holdfast_server.telemetry.metrics import METRICS, PROCESS
from tests.docs.blocks import tables
from tests.server_process import ROOT
from tests.telemetry.busy import registry, some_load
from tests.telemetry.conftest import Start
from tests.telemetry.scraping import scrape
from tests.telemetry.test_metrics import said

RULES = yaml.safe_load((ROOT / "deploy/prometheus/holdfast.rules.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "deploy/grafana/holdfast.json").read_text(encoding="utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Labels that Prometheus adds, and the one of buckets.
ADDED = {"instance", "job", "le"}


def expressions() -> list[Any]:
    """Every expression, by where it stands."""
    found = [pytest.param(rule["expr"], id=name) for name, rule in ALERTS.items()]
    for panel in PANELS:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            found.append(pytest.param(text, id=f"{panel['title']}-{target['refId']}"))
    return found


def selectors(text: str) -> list[Any]:
    """The selectors of an expression; ValueError if it is none."""
    found: list[Any] = []

    def visit(expression: Any) -> None:
        if isinstance(expression, promql_parser.VectorSelector):
            found.append(expression)

    promql_parser.walk(promql_parser.parse(text), visit)
    return found


@pytest.mark.parametrize("text", expressions())
def test_an_expression_asks_for_metrics_and_labels_that_there_are(text: str) -> None:
    told = {sample: name for name in METRICS for sample in said(name)}
    process = {name for name, _, _ in PROCESS}
    asked = selectors(text)
    assert asked
    for selector in asked:
        assert selector.name in told or selector.name in process, selector.name
        metric = METRICS.get(told.get(selector.name, ""))
        labels = ADDED | set(metric.labels if metric is not None else ())
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{selector.name} has no label {matcher.name}"
            if matcher.name == "reason":
                assert set(matcher.value.split("|")) <= CATALOGUE.keys()
    grouped = re.findall(r"by \(([^)]*)\)", text)
    every = ADDED.union(*(metric.labels for metric in METRICS.values()))
    assert {label.strip() for each in grouped for label in each.split(",")} <= every


async def test_what_is_asked_for_is_told_by_a_real_server(start: Start) -> None:
    server, client = await start(registry)
    await some_load(server, client)
    names = (await scrape(server)).names
    asked = {each.name for one in expressions() for each in selectors(one.values[0])}
    assert asked <= names


def test_alerts_say_what_is_wrong() -> None:
    for name, rule in ALERTS.items():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, name
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_every_alert_is_in_the_documentation() -> None:
    rows = tables("docs/operations.md")[("alert", "what it means", "what to do")]
    assert {row[0].strip("`") for row in rows} == ALERTS.keys()


def test_panels_have_places_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + dx, place["y"] + dy)
            for dx in range(place["w"])
            for dy in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
