"""The README tells the truth: its tables against the code, its tree against the disk."""

import json
import re
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.errors import ServiceError
from service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each row of the tables, by the first one."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells if not set(row[0]) <= set("-")}


def test_the_settings_table_is_the_settings() -> None:
    table = rows(section("Settings"))
    table.pop("setting")
    assert list(table) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, consequence = table[name]
        assert default == f"`{field.default}`"
        assert consequence == field.description


def test_the_routes_table_is_the_routes() -> None:
    described = {row for row in rows(section("Routes")) if " /" in row}
    spec = create_app(Settings()).app.openapi()
    served = {f"{m.upper()} {path}" for path, ways in spec["paths"].items() for m in ways}
    assert described == served | {"GET /docs"}


def test_the_error_table_is_the_error_tree() -> None:
    table = rows(section("Routes"))
    tree: list[type[ServiceError]] = [ServiceError, *ServiceError.__subclasses__()]
    for error in tree:
        assert f"`{error.error_type}`" in table[str(error.status)][0]


def test_the_tree_names_every_file_and_no_other() -> None:
    tree = section("Where things are")
    named = set(re.findall(r"[\w/]+\.py", tree))
    modules = {
        path.name
        for package in ("service", "training")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and "recipes" not in path.parts
    }
    assert modules <= named
    assert {name for name in named if not name.startswith("tests/")} <= modules


def test_the_version_has_an_entry_in_the_changelog() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"\n## {version[1]}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_request_of_the_first_screen_is_well_formed(http: httpx.Client) -> None:
    request = json.loads((ROOT / "docs/request.json").read_text())
    answer = http.post("/v1/forecast", json=request | {"model": "nobody"})
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "model"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(path: Path) -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    there = {file.name for file in files}
    for file in files:
        there.update(re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE))
    for name, rest in re.findall(r"\b(test_\w+(?:\.py)?)(\.\.\.)?", path.read_text()):
        known = any(one.startswith(name) for one in there) if rest else name in there
        assert known, f"{path.name} names {name}{rest}"
