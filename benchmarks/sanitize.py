"""The short way in C, fed with damaged bodies while the compiler's sanitizers watch its memory.

`python -m benchmarks.sanitize --inputs 50000` builds `service/express` anew with AddressSanitizer
and UndefinedBehaviorSanitizer (gcc or clang), and ends with an error where either finds something.
Whether what is read and written is right, the tests tell; here it is whether it stays within its
memory.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.mutations import mutate

SOURCES = Path(__file__).parents[1] / "service/express"
NAME = "service.express._express"
LONGEST = 40  # steps of a model's context
_FLAGS = (
    "-shared -fPIC -O1 -g -std=c11 -fsanitize=address,undefined -fno-sanitize-recover=undefined"
)
_SERIES = {"item_id": "ä", "start": "2024-01-01", "target": [1.5, None, -3e5, 123456789012345678.5]}
_NATIVE = {"model": "m", "series": [_SERIES], "horizon": 3, "quantile_levels": [0.1, 0.5]}
_CONTEXT = {"name": "context", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, None]}
_LENGTHS = {"name": "lengths", "shape": [2], "datatype": "INT64", "data": [3, 2]}
SEEDS = (
    json.dumps(_NATIVE, ensure_ascii=False).encode(),
    json.dumps({"inputs": [_CONTEXT, _LENGTHS], "id": "a"}).encode(),
)


def main() -> None:
    """Build it, and feed it in a process of its own, which the sanitizers must be loaded into."""
    parser = argparse.ArgumentParser("python -m benchmarks.sanitize", description=__doc__)
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--built", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.built is not None:
        feed(_load(given.built), given.inputs, given.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder, f"_express{sysconfig.get_config_var('EXT_SUFFIX')}")
        include = sysconfig.get_paths()["include"]
        sources = map(str, sorted(SOURCES.glob("*.c")))
        subprocess.run(["cc", *_FLAGS.split(), f"-I{include}", *sources, "-o", built], check=True)
        libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
        watched = {
            "LD_PRELOAD": " ".join(libraries),
            "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter keeps what lives as long as it
            "PYTHONMALLOC": "malloc",
        }
        again = ["--inputs", str(given.inputs), "--seed", str(given.seed), "--built", str(built)]
        command = [sys.executable, "-m", "benchmarks.sanitize", *again]
        sys.exit(subprocess.run(command, env=os.environ | watched).returncode)


def feed(express: Any, inputs: int, seed: int) -> int:
    """Let it read bodies, and write rows and answers of those that it takes; how many it took."""
    chance = random.Random(seed)
    taken = 0
    for number in range(inputs):
        kind = number % len(SEEDS)
        body = SEEDS[kind] if chance.random() < 0.1 else mutate(chance, SEEDS[kind])
        question = (express.read_forecast, express.read_tensors)[kind](body)
        if question is not None:
            taken += 1
            _exercise(express, question, chance, is_native=kind == 0)
    print(f"{inputs} bodies, {taken} of them read; nothing was found")
    return taken


def _exercise(express: Any, question: Any, chance: random.Random, *, is_native: bool) -> None:
    said = (question.name, question.horizon, question.levels, question.first)
    assert len(said) == 4
    question.differ(), question.has_freq("D"), question.fits(1, LONGEST, LONGEST)
    for part in question.rows(np.maximum(np.arange(LONGEST + 1), 8)):
        rows = len(part)
        part.write(0, rows, (np.empty((rows, part.shape), np.float32), np.empty(rows, np.int64)), 0)
    bits = np.frombuffer(chance.randbytes(4 * len(question) * 6), np.float32).reshape(-1, 3, 2)
    answer = np.where(np.isfinite(bits), bits, np.float32(0))
    express.write_numbers(answer)
    if is_native:
        question.times()
        form = express.Form(b'{"series":[', (b'"0.1"', b'"0.5"'), (0, 1), 1, 3)
        json.loads(form.write(question, [b"[]"] * len(question), answer))


def _load(built: Path) -> Any:
    loader = ExtensionFileLoader(NAME, str(built))
    spec = spec_from_loader(NAME, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _library(name: str) -> str:
    found = subprocess.run(
        ["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


if __name__ == "__main__":
    main()
