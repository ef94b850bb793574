"""`Bench`: the servers of one round, and the loads that every measure is made of."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import load
from benchmarks.load import Load, Question
from benchmarks.serving import arrivals, questions, raw, rpc
from benchmarks.serving.arrivals import Journal
from benchmarks.serving.processes import Server, alone, free_port, server
from benchmarks.serving.questions import NATIVE, VARIETY, Dialect, NotAnswered
from service.contract import artifact, layout
from service.contract.forecast import ForecastSignature
from service.cores import available_cores
from service.settings import Settings

GATECAST = str(Path(sys.executable).with_name("gatecast"))
EMPTY = Question("/")
SINGLES = 32  # connections of requests about one series
MIX_SEED = 2**16  # of the bodies of another kind of load


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    models: Path
    seconds: int  # of one load
    overload_seconds: float
    overload: str  # the model that is overloaded
    series: int  # of a bulk call
    flags: tuple[str, ...]  # further ones for `gatecast serve`


@dataclass
class Bench:
    """One round."""

    options: Options
    number: int  # of the round; what alternates turns with it
    cores: int
    empty: Server
    server: Server
    rpc_port: int | None

    def signature(self, model: str) -> ForecastSignature:
        """What the model wants."""
        return _signature(self.options.models, model)

    def empty_rate(self, connections: int) -> float:
        """H: empty requests per second that uvicorn answers with as many workers as cores."""
        return load.measure(self.empty.url, [EMPTY], connections, self.options.seconds).rate

    def raw_rate(self, model: str) -> float:
        """R: rows per second of ONNX Runtime alone, a thread per core, batches of 8."""
        steps = self.signature(model).context_length
        seconds = self.options.seconds
        return alone(raw.rows_per_second, self._file(model), steps, 8, self.cores, seconds)

    def raw_median_ms(self, model: str) -> float:
        """Milliseconds of ONNX Runtime alone on one row in one thread."""
        steps = self.signature(model).context_length
        return alone(raw.median_ms, self._file(model), steps, 1, self.options.seconds)

    def http(self, dialect: Dialect, model: str, rows: int, connections: int) -> Load:
        """A closed loop over HTTP, after each question was asked once and its answer checked.

        Raises:
            NotAnswered: an answer is not 200 or does not hold every number of the forecast.
            LoadFailed: see `load.measure`.
        """
        asked = self.questions(dialect, model, rows)
        answer = float(np.mean([self._checked(dialect, one, model, rows) for one in asked]))
        url, seconds = self.server.url, self.options.seconds
        return load.measure(url, asked, connections, seconds, answer)

    def grpc(self, model: str, rows: int, connections: int) -> Load:
        """The same over gRPC.

        Raises:
            NotAnswered: the server has no gRPC port.
            LoadFailed: see `rpc.measure`.
        """
        if self.rpc_port is None:
            raise NotAnswered("this version of the service has no setting grpc_port")
        signature = self.signature(model)
        messages = [
            questions.grpc_message(model, questions.walks(signature, rows, seed))
            for seed in range(VARIETY)
        ]
        address, least = (self.server.host, self.rpc_port), 4 * rows * _numbers(signature)
        return alone(rpc.measure, address, messages, least, connections, self.options.seconds)

    def peak(self, model: str) -> float:
        """The most native requests per second about one series, just now."""
        return self.http(NATIVE, model, 1, SINGLES).rate

    def singles(
        self, model: str, rate: float, seconds: float, connections: int, **headers: str
    ) -> Journal:
        """An open loop of native requests about one series."""
        host, port = self.server.host, self.server.port
        asked = [q.wire(host, **headers) for q in self.questions(NATIVE, model, 1)]
        times = arrivals.poisson(rate, seconds, seed=self.number)
        return alone(arrivals.play, (host, port), asked, times, connections)

    def questions(self, dialect: Dialect, model: str, rows: int) -> list[Question]:
        """As many different ones as are asked in rotation."""
        signature = self.signature(model)
        return [
            dialect.write(model, questions.walks(signature, rows, seed)) for seed in range(VARIETY)
        ]

    def _checked(self, dialect: Dialect, question: Question, model: str, rows: int) -> int:
        """The bytes of the body of a right answer."""
        status, headers, body = self.server.ask(question)
        if status != 200:
            raise NotAnswered(f"{question.path} answered {status}: {body[:200].decode()}")
        wanted = rows * _numbers(self.signature(model))
        if (count := dialect.count(headers, body)) != wanted:
            raise NotAnswered(f"{question.path} answered {count} numbers, expected {wanted}")
        return len(body)

    def _file(self, model: str) -> Path:
        return layout.folder(self.options.models, model, 1) / artifact.MODEL


@contextmanager
def opened(options: Options, number: int) -> Iterator[Bench]:
    """Start both servers of a round, warm them up, and end them."""
    cores = available_cores()
    command = [GATECAST, "serve", "--models", str(options.models), "--port", "0"]
    port = free_port() if "grpc_port" in Settings.model_fields else None
    command += ["--grpc-port", str(port)] if port else []
    probe = native_probe(options.models)
    with (
        server(asgi_command("uvicorn", "benchmarks.empty:app", cores), EMPTY) as empty,
        server([*command, *options.flags], probe) as gatecast,
    ):
        bench = Bench(options, number, cores, empty, gatecast, port)
        for one, question in ((empty, EMPTY), (gatecast, probe)):
            load.measure(one.url, [question], SINGLES, 1)
        yield bench


def asgi_command(kind: str, app: str, workers: int, *more: str) -> list[str]:
    """uvicorn or granian as fast as they come: uvloop, nothing logged for each request."""
    common = ["--port", str(free_port()), "--workers", str(workers), "--loop", "uvloop"]
    if kind == "uvicorn":
        flags = ["--http", "httptools", "--no-access-log", *common]
    else:
        flags = ["--interface", "asgi", "--http", "1", "--no-ws", *common]
    return [sys.executable, "-m", kind, *flags, *more, app]


def native_probe(models: Path) -> Question:
    """One series for the first model of the folder."""
    model = layout.names(models)[0]
    return questions.native(model, questions.walks(_signature(models, model), 1, MIX_SEED))


def _signature(models: Path, model: str) -> ForecastSignature:
    signature = artifact.read(layout.folder(models, model, 1)).metadata.signature
    assert isinstance(signature, ForecastSignature), f"{model} is no forecaster"
    return signature


def _numbers(signature: ForecastSignature) -> int:
    """Of the forecast of one series."""
    return signature.horizon * len(signature.quantile_levels)
