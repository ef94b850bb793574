"""The house as a test: who may import whom, and no room grows a noun too many."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path for package in ("service", "training") for path in (ROOT / package).rglob("*.py")
)
CEILING = 300  # lines of a file
OFFLINE = {
    "torch",
    "lightning_fabric",
    "polars",
    "pandas",
    "onnx",
    "onnxscript",
    "pooch",
    "sklearn",
    "statsforecast",
    "matplotlib",
}


@cache
def imports(path: Path) -> set[str]:
    """Every module named in an import statement of the file, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_service_never_imports_training_or_its_libraries(path: Path) -> None:
    if path.is_relative_to(ROOT / "service"):
        assert not roots(path) & (OFFLINE | {"training"})


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_one_file_imports_onnxruntime(path: Path) -> None:
    if name(path) != "service/providers.py":
        assert "onnxruntime" not in roots(path)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_room_of_grpc_imports_it(path: Path) -> None:
    if not path.is_relative_to(ROOT / "service/api/rpc"):
        assert not roots(path) & {"grpc", "google"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_room_of_quality_imports_a_database(path: Path) -> None:
    if not path.is_relative_to(ROOT / "service/quality"):
        assert not roots(path) & {"sqlalchemy", "sqlite3", "psycopg"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_one_file_imports_the_client_of_object_stores(path: Path) -> None:
    if name(path) != "service/store/objects.py":
        assert "obstore" not in roots(path)


@pytest.mark.parametrize("path", sorted((ROOT / "service/contract").rglob("*.py")), ids=name)
def test_the_contract_knows_nothing_but_numpy_and_pydantic(path: Path) -> None:
    ours = {found for found in imports(path) if found.startswith("service")}
    assert all(found.startswith("service.contract") for found in ours)
    assert not roots(path) & {"fastapi", "starlette", "uvicorn", "prometheus_client", "click"}


@pytest.mark.parametrize("path", sorted((ROOT / "training").rglob("*.py")), ids=name)
def test_training_enters_the_service_only_by_its_doors(path: Path) -> None:
    doors = {
        "training/parity.py": {"service.runtime"},
        "training/publication.py": {"service.runtime"},
        "training/forecast.py": {"service.cores", "service.repository.live"},
        "training/layers/recurrence.py": {"service.cores"},
        "training/options.py": {"service.repository.option"},
        "training/cli.py": {"service.errors", "service.repository.live"},
        # An edited graph is no artifact, but runs in the session that would serve it.
        "training/explain/trace.py": {"service.providers"},
    }
    allowed = doors.get(name(path), set()) | {"service.contract"}
    entered = {found for found in imports(path) if found.startswith("service.")}
    assert all(any(found.startswith(door) for door in allowed) for found in entered)


def test_nothing_imports_in_a_circle() -> None:
    modules = {
        name(path)[:-3].replace("/", ".").removesuffix(".__init__"): path for path in MODULES
    }
    graph = {module: imports(path) & modules.keys() - {module} for module, path in modules.items()}
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    assert not graph


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_file_holds_one_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= CEILING
    assert ast.get_docstring(ast.parse(path.read_text())), "say what the file is for"
