"""How close the service comes to what the machine can do: `python -m benchmarks.serving [MODELS]`.

`python -m benchmarks.serving models DIR` writes the two models that are measured, S and L; without
a folder of models they are written to build/models first. Server and generator share the machine,
everything that is compared is measured in turn in one run, and the medians of the rounds count:
docs/serving.md tells the method.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.load import LoadFailed
from benchmarks.serving import asgi, bulk, latency, overload, throughput
from benchmarks.serving.bench import Bench, Options, opened
from benchmarks.serving.figures import Figure, medians, table
from service.cores import available_cores

Measure = Callable[[Bench, Callable[[str], None]], Iterator[Figure]]

MEASURES: dict[str, Measure] = {
    **{name: partial(throughput.measure, case) for name, case in throughput.CASES.items()},
    "one": latency.one_connection,
    "poisson": latency.poisson,
    "bulk": bulk.measure,
    "overload": overload.measure,
    "granian": asgi.measure,
}
OPTIONAL = {"granian"}  # measured when it is asked for
ONCE = {"overload"}  # long; in the last round alone
DEFAULT_MODELS = Path("build/models")


def main() -> None:
    """Write the models, or measure and print the table."""
    if sys.argv[1:2] == ["models"]:
        parser = argparse.ArgumentParser("python -m benchmarks.serving models")
        parser.add_argument("folder", type=Path)
        _write_models(parser.parse_args(sys.argv[2:]).folder)
        return
    given = _parser().parse_args()
    if given.models is None:
        given.models = DEFAULT_MODELS
        _write_models(given.models)
    options = Options(
        given.models,
        given.seconds,
        given.overload_seconds,
        given.overload_model,
        given.bulk_series,
        tuple(shlex.split(given.serve)),
    )
    _run(options, given.rounds, given.only or [m for m in MEASURES if m not in OPTIONAL])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.serving", description=__doc__)
    parser.add_argument("models", type=Path, nargs="?", help="a folder with S and L")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of one load")
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="NAME", help=_names())
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--overload-model", default="L", help="the model that is overloaded")
    parser.add_argument("--bulk-series", type=int, default=50_000, help="of a bulk call")
    parser.add_argument("--serve", default="", help="flags of `gatecast serve`, in one argument")
    return parser


def _names() -> str:
    return f"some of {', '.join(MEASURES)}; without it all but {', '.join(OPTIONAL)}"


def _run(options: Options, rounds: int, chosen: list[str]) -> None:
    notes: dict[str, None] = {}
    found = []
    for number in range(rounds):
        last = number == rounds - 1
        if some := [name for name in chosen if last or name not in ONCE]:
            found.append(_round(options, number, some, notes))
    flags = f", {' '.join(options.flags)}" if options.flags else ""
    print(
        f"{available_cores()} cores, {rounds} rounds of {options.seconds} s for each load{flags}\n"
        f"medians; beside them the target and what each round gave"
    )
    print(table(medians(found)))
    for one in notes:
        print(f"note: {one}")


def _round(
    options: Options, number: int, chosen: list[str], notes: dict[str, None]
) -> list[Figure]:
    figures: list[Figure] = []
    with opened(options, number) as bench:
        ready = Figure("Gatecast", "process start to first answer, s", bench.server.ready_after)
        figures.append(ready)
        figures.append(Figure("Gatecast", "memory at rest, MiB", bench.server.memory_mib()))
        for name in chosen:
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            try:
                figures.extend(MEASURES[name](bench, lambda text: notes.setdefault(text)))
            except LoadFailed as error:  # what it measured before is kept
                notes.setdefault(f"{name}: {error}")
    return figures


def _write_models(folder: Path) -> None:
    from benchmarks.serving.models import write_all  # takes torch, which measuring must not load

    for written in write_all(folder):
        print(written, file=sys.stderr)


if __name__ == "__main__":
    main()
