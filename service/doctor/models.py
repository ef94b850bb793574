"""Every version there is, opened and proved as at a start, and the speed of live ones."""

import statistics
import time
from pathlib import Path

from service.contract import layout
from service.doctor.area import Area
from service.providers import Provider
from service.repository.intake import Intake
from service.repository.live import AnyModel
from service.repository.place import Folder, Place, Refusal
from service.settings import Settings
from service.store.objects import BadStore
from service.store.opening import first_look, open_store

BENCH_S = 0.5  # of each size of a batch: a second for a model
ROWS = (1, 8)
SLOW_S = 0.1  # of one row alone
_FUTURE_S = 60.0


def models(settings: Settings, provider: Provider) -> Area:
    """Open all, say what each is for, and measure those that would answer."""
    area = Area("models", {"models": str(settings.models)})
    try:
        place = _place(settings, area)
    except BadStore as error:
        area.complain(f"{settings.models}: {error}", "see what --models and its store need")
        return area
    if not place.folder.is_dir():
        remedy = "give --models, or train one first: gatecast train airline"
        area.complain(f"folder {settings.models} does not exist", remedy)
        return area
    intake = Intake(place, provider)
    names = intake.names()
    if not names:
        remedy = "give another --models, or train one first: gatecast train airline"
        area.complain(f"there is no model in {settings.models}", remedy)
    for name in names:
        _look_at(name, intake, area)
    return area


def measure(model: AnyModel) -> dict[int, float]:
    """Seconds of a run, the median, by its rows; the longest rows, on one lane."""
    signature, runtime = model.metadata.signature, model.runtime
    found = {}
    for rows in ROWS:
        inputs = signature.blank(rows, max(signature.paddings))
        took: list[float] = []
        while sum(took) < BENCH_S:
            began = time.perf_counter()
            runtime.run(*inputs)
            took.append(time.perf_counter() - began)
        found[rows] = statistics.median(took)
    return found


def _place(settings: Settings, area: Area) -> Place:
    """Where the models are, after a first look where that is a store."""
    if not isinstance(settings.models, str):
        return Folder(settings.models)
    store = open_store(settings.models, settings.store_cache)
    area.facts["store"] = first_look(store)
    return store


def _look_at(name: str, intake: Intake, area: Area) -> None:
    versions = layout.versions(intake.models, name)
    said = {version: _open(name, version, intake, area) for version in versions}
    assembled = intake.assemble(name, None)
    roles = {} if assembled.lineup is None else assembled.lineup.roles()
    for version in versions:
        aliases = [alias for alias, meant in sorted(roles.items()) if meant == version]
        area.facts[f"{name}/{version}"] = ", ".join([said[version], *aliases])
    for version in assembled.refused.keys() - said.keys():  # aliases.json, or a missing version
        remedy = f"gatecast models promote {name} VERSION, or repair {name}/aliases.json"
        area.complain(assembled.refused[version].reason, remedy)
    if assembled.lineup is None:
        remedy = f"gatecast models promote {name} VERSION, with a version that is proved"
        area.complain(f"no version of {name} answers", remedy)
    else:
        _look_at_speed(assembled.lineup.live, area)


def _open(name: str, version: int, intake: Intake, area: Area) -> str:
    """What came of it."""
    began = time.perf_counter()
    result = intake.open(name, version)
    took = time.perf_counter() - began
    _look_at_dates(layout.folder(intake.models, name, version), area)
    if isinstance(result, Refusal):
        area.complain(result.reason, f"publish it anew, or gatecast models delete {name}@{version}")
        return "refused"
    return f"proved and warm in {took:.2f} s"


def _look_at_dates(folder: Path, area: Area) -> None:
    ahead = folder.stat().st_mtime - time.time()
    if ahead > _FUTURE_S:
        area.complain(
            f"{folder} was written {ahead:.0f} s from now",
            "set the clock of this machine, or of the one that trained",
        )


def _look_at_speed(model: AnyModel, area: Area) -> None:
    found = measure(model)
    name, steps = model.metadata.name, max(model.metadata.signature.paddings)
    for rows, seconds in found.items():
        said = f"{rows / seconds:.0f} rows/s, {seconds * 1e3:.2f} ms a run"
        area.facts[f"{name}, {rows} of {steps} steps"] = said
    if found[1] > SLOW_S:
        area.complain(
            f"one row of {name} takes {found[1] * 1e3:.0f} ms on one lane",
            "train a smaller network or a shorter context, or look for what else uses the cores",
        )
