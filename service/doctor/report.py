"""The whole report: every area, in the order in which a start would meet them."""

import importlib.metadata
import json
import platform
from collections.abc import Iterator

import click
import numpy as np

from service.doctor import door, machine, models
from service.doctor.area import Area
from service.express import BUILT
from service.providers import Provider, ProviderUnavailable, choose
from service.quality.address import check_quality, hidden
from service.settings import Settings
from service.telemetry.collector import TracesUnavailable, check_traces

_PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def examine(settings: Settings) -> Iterator[Area]:
    """Look at everything; the models take as long as a start does, and a second each."""
    yield versions()
    area, provider = choice(settings)
    yield area
    chosen = settings.model_copy(update={"provider": provider})
    yield machine.cores(chosen)
    found = models.models(chosen, provider)
    yield machine.memory(chosen, machine.resident())
    yield machine.files(chosen)
    yield machine.clock()
    yield door.door(chosen)
    yield telemetry(chosen)
    yield quality(chosen)
    yield found


def versions() -> Area:
    """Of what answers depend on."""
    found = {name: _version(name) for name in _PACKAGES}
    installed = {name: version for name, version in found.items() if version is not None}
    return Area(
        "versions",
        {"gatecast": _version("gatecast"), "python": platform.python_version()}
        | (installed or {"onnxruntime": "not installed as a package"})
        | {"numpy": np.__version__, "machine": f"{platform.system()} {platform.machine()}"}
        | {"short way in C": "built" if BUILT else "not built: no compiler at installation"},
    )


def choice(settings: Settings) -> tuple[Area, Provider]:
    """Which provider would serve, and whether CUDA would."""
    area = Area("provider", {"asked": settings.provider})
    provider: Provider = "cpu"
    try:
        best = choose("auto")
        area.facts["cuda"] = "works" if best.provider == "cuda" else f"no: {best.reason}"
        chosen = choose(settings.provider) if settings.provider != "auto" else best
        provider = area.facts["serves"] = chosen.provider
    except ProviderUnavailable as error:
        area.complain(str(error), "it keeps the service from starting; change it")
    else:
        if best.provider == "cuda" and provider == "cpu":
            area.facts["cuda"] += ", unused: --provider auto takes it"
    return area, provider


def telemetry(settings: Settings) -> Area:
    """What the service would tell of itself."""
    said = {name: getattr(settings, name) for name in ("log_format", "access_log", "traces")}
    area = Area("telemetry", said)
    if settings.traces:
        try:
            check_traces()
        except TracesUnavailable as error:
            area.complain(str(error), "it keeps the service from starting; change it")
    return area


def quality(settings: Settings) -> Area:
    """Whether forecasts are recorded, and could be."""
    asked = settings.quality
    area = Area("quality", {"database": "none" if asked is None else hidden(asked)})
    if asked is not None:
        try:
            check_quality(asked)
        except click.ClickException as error:
            area.complain(error.message, "it keeps the service from starting; change it")
    return area


def as_text(areas: list[Area]) -> str:
    """For people."""
    width = max(len(name) for area in areas for name in area.facts) + 2
    lines: list[str] = []
    for area in areas:
        lines += [area.name, *(f"  {name:<{width}}{said}" for name, said in area.facts.items()), ""]
    troubles = [(area, trouble) for area in areas for trouble in area.troubles]
    lines.append(f"looks wrong: {len(troubles)}" if troubles else "nothing looks wrong")
    for area, trouble in troubles:
        lines += [f"  {area.name}: {trouble.what}", f"    -> {trouble.remedy}"]
    return "\n".join(lines)


def as_json(areas: list[Area]) -> str:
    """For machines: {"areas": {name: facts}, "troubles": [{"area", "what", "remedy"}]}."""
    troubles = [
        {"area": area.name, "what": one.what, "remedy": one.remedy}
        for area in areas
        for one in area.troubles
    ]
    return json.dumps({"areas": {a.name: a.facts for a in areas}, "troubles": troubles}, indent=1)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
