"""Which bodies take the short way: usual ones, to a model that nobody else wants to know of."""

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from service.api.asked import LONGEST, MOST_NUMBERS, Asked
from service.api.over_asgi import OverAsgi
from service.contract.aliases import SHADOW
from service.drain import Drain
from service.engine.batcher import Batcher
from service.express import BUILT
from service.house import House
from service.inference import Inference
from service.repository.intake import Intake
from service.repository.live import AnyModel, Lineup, Repository
from service.settings import Settings
from tests.artifacts import dated, edit, toy
from tests.end_to_end.openinference import json_body, rows

if not BUILT:
    pytest.skip("no compiler at installation", allow_module_level=True)

from service.api import native_express
from service.api.openinference import express

Body = dict[str, Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("models")
    edit.copy(folder)
    dated.write(folder)
    toy.write(folder)
    return Intake(folder, "cpu").load()


def exchange(models: Repository, desk: Any = None, model: str = "tiny", **headers: str) -> OverAsgi:
    inference = Inference(models, Batcher(1, 4, 100), max_context_steps=50)
    none = cast(Any, None)
    house = House(Settings(), inference, none, none, none, Drain(0.0), None, desk=desk)
    named = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "query_string": b"", "headers": named}
    return OverAsgi(scope, none, house, {"name": model})


def native(**fields: Any) -> Body:
    one = {"item_id": "a", "start": "2024-01-01", "target": [1, None, 2.5]} | fields
    return {"model": "tiny", "series": [one]}


def forecast(models: Repository, body: Body, **about: Any) -> Asked | None:
    content = json.dumps(body, ensure_ascii=False).encode()
    return native_express.ask(exchange(models, **about), content)


def infer(models: Repository, body: Body, **about: Any) -> Asked | None:
    return express.ask(exchange(models, **about), json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        native(),
        native(freq="4h"),
        native(freq=None, start="2024-01-01T00:00:00Z", item_id="Köln"),
        native() | {"horizon": 2, "quantile_levels": [0.9, 0.1]},
        native() | {"horizon": None, "quantile_levels": None, "model": "tiny@1"},
        native() | {"model": "dated"},
        native() | {"series": [{**native()["series"][0], "item_id": str(n)} for n in range(64)]},
    ],
    ids=str,
)
def test_a_usual_forecast_is_asked_at_once(models: Repository, body: Body) -> None:
    asked = forecast(models, body)
    assert asked is not None
    assert sum(map(len, asked.parts)) == len(body["series"])


@pytest.mark.parametrize("count", [1, 64])
def test_a_usual_inference_is_asked_at_once(models: Repository, count: int) -> None:
    asked = infer(
        models, json_body(rows(*[1 + n % 40 for n in range(count)])), gatecast_timeout_ms="9000"
    )
    assert asked is not None
    assert sorted(place for part in asked.parts for place in part.places) == [*range(count)]
    assert asked.timeout_s is not None
    assert 8 < asked.timeout_s <= 9


def test_rows_are_written_as_the_contract_places_them(models: Repository) -> None:
    tensors = rows(5, 24, 30)
    asked = infer(models, json_body(tensors))
    assert asked is not None
    for part in asked.parts:
        padded = cast(int, part.shape)
        memory = np.empty((len(part) + 1, padded), np.float32), np.empty(len(part) + 1, np.int64)
        part.write(0, len(part), memory, 1)
        for at, place in enumerate(part.places, 1):
            own = tensors["context"][place, : tensors["lengths"][place]][-24:]
            expected = np.full(padded, np.nan, np.float32)
            expected[: len(own)] = own
            assert memory[0][at].tobytes() == expected.tobytes()
            assert memory[1][at] == len(own)


@pytest.mark.parametrize(
    ("start", "stop", "at"), [(0, 2, 0), (-1, 1, 0), (0, 1, 3), (0, 1, -1)], ids=str
)
def test_rows_that_are_not_there_are_written_nowhere(
    models: Repository, start: int, stop: int, at: int
) -> None:
    asked = infer(models, json_body(rows(5)))
    assert asked is not None
    memory = np.zeros((3, 8), np.float32), np.zeros(3, np.int64)
    with pytest.raises(IndexError):
        asked.parts[0].write(start, stop, memory, at)
    assert not memory[0].any()


@pytest.mark.parametrize(
    "memory",
    [
        (np.zeros((1, 8), np.float64), np.zeros(1, np.int64)),
        (np.zeros(8, np.float32), np.zeros(1, np.int64)),
        (np.zeros((1, 8), np.float32), np.zeros(1, np.int32)),
        (np.zeros((1, 16), np.float32)[:, ::2], np.zeros(1, np.int64)),
        (np.zeros((1, 8), np.float32), np.zeros(1, np.int64), np.zeros((1, 11), np.int64)),
    ],
    ids=["dtype", "axes", "lengths", "strides", "calendar"],
)
def test_memory_of_another_form_is_not_written(models: Repository, memory: Any) -> None:
    asked = infer(models, json_body(rows(5)))
    assert asked is not None
    with pytest.raises((ValueError, BufferError)):
        asked.parts[0].write(0, 1, memory, 0)


def test_an_answer_to_another_question_is_not_written(models: Repository) -> None:
    asked = forecast(models, native())
    assert asked is not None
    for shape in [(2, 6, 9), (1, 5, 9), (1, 6, 8), (6, 9)]:
        with pytest.raises(ValueError, match="not the answers"):
            asked.write(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["series"][0].update(past_covariates={}),
        lambda body: body["series"][0].update(target=[1.0] * 51),
        lambda body: body["series"][0].update(item_id='"'),
        lambda body: body["series"][0].update(freq="240min"),
        lambda body: body.update(model="toy"),
        lambda body: body.update(model="nobody"),
        lambda body: body.update(note=" " * LONGEST),
        lambda body: body.update(
            series=[
                {"item_id": str(n), "start": f"2024-01-0{n}", "target": [1.0]} for n in range(1, 6)
            ]
        ),
    ],
    ids=["field", "steps", "escape", "freq", "covariates", "model", "size", "starts"],
)
def test_an_unusual_forecast_is_left_to_the_handler(
    models: Repository, change: Callable[[Body], object]
) -> None:
    body = native()
    change(body)
    assert forecast(models, body) is None


def test_more_rows_than_may_wait_are_left_to_the_handler(models: Repository) -> None:
    assert infer(models, json_body(rows(*[5] * 101))) is None


def test_a_long_answer_is_left_to_the_handler(
    models: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json_body(rows(5, 5, 5))
    monkeypatch.setattr("service.api.asked.MOST_NUMBERS", 3 * 6 * 9)
    assert infer(models, body) is not None
    monkeypatch.setattr("service.api.asked.MOST_NUMBERS", 3 * 6 * 9 - 1)
    assert infer(models, body) is None
    assert MOST_NUMBERS // (24 * 9) > 100


def test_a_packed_body_is_left_to_the_handler(models: Repository) -> None:
    assert forecast(models, native(), content_encoding="identity") is None
    assert infer(models, json_body(rows(5)), content_encoding="identity") is None
    assert infer(models, json_body(rows(5)), inference_header_content_length="9") is None


def test_an_answer_that_may_be_packed_is_left_to_the_handler(models: Repository) -> None:
    many = json_body(rows(*[5] * 50))
    assert infer(models, many, accept_encoding="gzip") is None
    assert infer(models, many, accept_encoding="identity") is not None
    assert infer(models, json_body(rows(5)), accept_encoding="gzip") is not None


def test_a_forecast_that_is_recorded_is_left_to_the_handler(models: Repository) -> None:
    assert forecast(models, native(), desk=object()) is None


def test_a_model_with_a_shadow_is_left_to_the_handler(models: Repository) -> None:
    live = models.get("tiny")
    other: AnyModel = type(live)(live.metadata.model_copy(update={"version": 2}), live.runtime)
    shadowed = Repository({"tiny": Lineup(live, aliases={SHADOW: other}, shadow_share=1.0)})
    assert forecast(shadowed, native()) is None
    assert infer(shadowed, json_body(rows(5))) is None


def test_more_levels_than_are_written_are_left_to_the_handler(
    models: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.native_express.MOST_LEVELS", 8)
    assert (
        forecast(models, native() | {"quantile_levels": [0.1, 0.5, 0.9], "horizon": 3}) is not None
    )
    assert forecast(models, native() | {"horizon": 4}) is None


def test_a_plan_does_not_keep_a_model_alive(tmp_path: Path) -> None:
    edit.copy(tmp_path)
    models = Intake(tmp_path, "cpu").load()
    assert forecast(models, native()) is not None
    known = weakref.ref(models.get("tiny"))
    del models
    gc.collect()
    assert known() is None
