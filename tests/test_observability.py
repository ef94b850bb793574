"""The dashboard and the alerts, loaded: what they ask for is what a real service tells."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser as promql
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from service.errors import ServiceError
from service.telemetry.exposition import FAMILIES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docker/observability"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
} | {rule["alert"]: rule["expr"] for rule in RULES}
EVERY_QUERY = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
PROMETHEUS_OWN = {"up"}
OF_A_TARGET = {"job", "instance"}
promtool = shutil.which("promtool")


def selectors(expr: Any) -> Iterator[Any]:
    """Every series that an expression looks at."""
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        elif isinstance(node, promql.MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql.walk(expr, visit)
    yield from found


def family_of(name: str) -> Any:
    """Of a series: a histogram has three."""
    if name in FAMILIES:
        return FAMILIES[name]
    family = FAMILIES.get(re.sub("_(bucket|count|sum)$", "", name))
    return family if family is not None and family.bounds else None


@pytest.fixture(scope="module")
def told(server: Any) -> set[str]:
    """Families that a real server's /metrics names."""
    answer = httpx.get(f"{server.url}/metrics", trust_env=False)
    return set(re.findall(r"^# TYPE (\S+) ", answer.text, re.MULTILINE))


@EVERY_QUERY
def test_a_query_asks_for_metrics_and_labels_that_a_real_service_tells(
    query: str, told: set[str]
) -> None:
    found = list(selectors(promql.parse(query)))
    assert found
    for selector in found:
        if selector.name in PROMETHEUS_OWN:
            continue
        family = family_of(selector.name)
        assert family is not None, selector.name
        assert family.name in told
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= {*family.labels, *OF_A_TARGET}


@EVERY_QUERY
def test_a_query_groups_by_labels_that_its_metrics_have(query: str) -> None:
    families = [family_of(one.name) for one in selectors(promql.parse(query))]
    known = {label for family in families if family for label in family.labels}
    buckets = {"le"} if "_bucket" in query else set()
    for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        assert set(grouping.split(", ")) <= known | OF_A_TARGET | buckets


def test_reasons_in_queries_are_error_types() -> None:
    tree: list[type[ServiceError]] = [ServiceError, *ServiceError.__subclasses__()]
    types = {error.error_type for error in tree}
    named = {r for q in QUERIES.values() for r in re.findall(r'reason="(\w+)"', q)}
    assert named
    assert named <= types


def test_what_they_ask_is_understood_by_the_parser_of_metrics(told: set[str], server: Any) -> None:
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    assert len(list(text_string_to_metric_families(text))) >= len(told)


def test_every_field_of_the_dashboard_is_one_that_grafana_knows() -> None:
    register_default_plugins()
    read_back = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert list(_lost(DASHBOARD, read_back)) == []


def test_panels_lie_side_by_side_and_have_ids_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_variable_in_a_query_is_one_of_the_dashboard() -> None:
    known = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for panel in DASHBOARD["panels"]:
        text = json.dumps(panel).replace("$__rate_interval", "")
        assert set(re.findall(r"\$\{?(\w+)", text)) <= known


def test_every_alert_is_explained_and_says_how_urgent_it_is() -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    for rule in RULES:
        assert f"| `{rule['alert']}` |" in operations
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
    assert len(re.findall(r"^\| `Gatecast", operations, re.MULTILINE)) == len(RULES)


def test_compose_mounts_what_is_there_and_opens_nothing_to_the_network() -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observe"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
        mounted = [volume.split(":")[0] for volume in services[name]["volumes"]]
        assert all((ROOT / "docker" / path).is_file() for path in mounted if path.startswith("."))


@pytest.mark.skipif(promtool is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yaml"), ("test", "rules", "alerts_test.yaml")],
    ids=" ".join,
)
def test_prometheus_accepts_the_rules_and_they_fire_when_they_should(
    arguments: tuple[str, ...],
) -> None:
    ended = subprocess.run(
        [str(promtool), *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _lost(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """What of ours is not in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            if name in theirs:
                yield from _lost(value, theirs[name], f"{where}.{name}")
            elif value is not None:
                yield f"{where}.{name}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(one, other, f"{where}[{number}]")
    elif ours != theirs:
        yield where
