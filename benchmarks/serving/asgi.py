"""The same application behind uvicorn and behind Granian: is the HTTP server the obstacle?"""

import importlib.util
from collections.abc import Callable, Iterator

from benchmarks import load
from benchmarks.load import LoadFailed, Question
from benchmarks.serving.bench import EMPTY, SINGLES, Bench, asgi_command, native_probe
from benchmarks.serving.figures import Figure
from benchmarks.serving.processes import server
from benchmarks.serving.questions import NATIVE

APP = "service.app:create_app"
MODEL = "S"


def measure(bench: Bench, note: Callable[[str], None]) -> Iterator[Figure]:
    """Requests per second of an empty application and of the whole service, behind both."""
    if importlib.util.find_spec("granian") is None:
        note("granian is not installed; `pip install granian` to compare with it")
        return
    group = f"ASGI servers, {SINGLES} connections, requests/s"
    singles = bench.questions(NATIVE, MODEL, 1)
    probe = native_probe(bench.options.models)
    kinds = ("uvicorn", "granian")
    for kind in kinds if bench.number % 2 == 0 else kinds[::-1]:
        for what, app, first, asked in (
            ("an empty answer", "benchmarks.empty:app", EMPTY, [EMPTY]),
            ("S, native JSON", APP, probe, singles),
        ):
            try:
                yield Figure(group, f"{kind}: {what}", _rate(bench, kind, app, first, asked))
            except (RuntimeError, LoadFailed) as error:
                note(f"{kind}, {what}: {error}")


def _rate(bench: Bench, kind: str, app: str, probe: Question, asked: list[Question]) -> float:
    factory = ("--factory",) if app == APP else ()
    command = asgi_command(kind, app, bench.cores, *factory)
    settings = {
        "GATECAST_MODELS": str(bench.options.models),
        "GATECAST_WORKERS": str(bench.cores),
        "GATECAST_LANES": "1",
    }
    with server(command, probe, settings) as one:
        load.measure(one.url, [probe], SINGLES, 1)
        return load.measure(one.url, asked, SINGLES, bench.options.seconds).rate
