"""Models of every task through Triton's own clients: each output, to the bit, as it was asked."""

import gzip
import json
import queue
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_rpc
import tritonclient.http as triton_rest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from service.contract import artifact
from service.runtime import Runtime
from tests.artifacts import babble, edit, ledger
from tests.end_to_end import openinference
from tests.end_to_end.openinference import HEADER, binary_body, json_body
from tests.end_to_end.server import ServerProcess, client, serving

Tensors = dict[str, NDArray[Any]]
Ask = Callable[..., Any]  # (model, tensors, ...) -> the client's result

TASKS = ("tiny", "ledger", "babble")
SIGNATURE = babble.signature(layers=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forecaster, a regression and a language model."""
    folder = tmp_path_factory.mktemp("models")
    edit.copy(folder)
    ledger.write(folder)
    babble.write(folder, signed=SIGNATURE)
    return folder


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[ServerProcess]:
    """A server of all three."""
    with serving(models, grpc_port=0) as opened:
        yield opened


@pytest.fixture
def http(running: ServerProcess) -> Iterator[httpx.Client]:
    """A bare client of it."""
    with client(running) as opened:
        yield opened


@pytest.fixture
def rest(running: ServerProcess) -> Iterator[Any]:
    """Triton's client over HTTP."""
    address = running.url.removeprefix("http://")
    with triton_rest.InferenceServerClient(address, concurrency=4) as opened:
        yield opened


@pytest.fixture
def rpc(running: ServerProcess) -> Iterator[Any]:
    """Triton's client over gRPC."""
    with triton_rpc.InferenceServerClient(running.rpc) as opened:
        yield opened


@pytest.fixture(params=["http", "grpc"])
def ask(request: pytest.FixtureRequest, rest: Any, rpc: Any) -> Ask:
    """Either client's `infer`."""
    if request.param == "http":
        return lambda model, tensors, *outputs: rest.infer(
            model,
            inputs(tensors, triton_rest),
            outputs=[triton_rest.InferRequestedOutput(name) for name in outputs] or None,
        )
    return lambda model, tensors, *outputs: rpc.infer(
        model,
        inputs(tensors, triton_rpc),
        outputs=[triton_rpc.InferRequestedOutput(name) for name in outputs] or None,
    )


def inputs(tensors: Tensors, module: Any, **options: object) -> list[Any]:
    """Tensors as a client of Triton sends them."""
    made = []
    for name, values in tensors.items():
        tensor = module.InferInput(
            name, [*values.shape], openinference.DATATYPES[str(values.dtype)]
        )
        tensor.set_data_from_numpy(values, **options)
        made.append(tensor)
    return made


def question(model: str, rows: int, seed: int = 0) -> Tensors:
    """Good tensors of a model, without a missing value: Triton's JSON would hold NaN."""
    random = np.random.default_rng(seed)
    if model == "tiny":
        context = random.normal(20, 5, (rows, 24)).astype(np.float32)
        return {"context": context, "lengths": random.integers(1, 25, rows)}
    if model == "ledger":
        return {"features": ledger.features(rows, seed)}
    state = random.normal(size=(rows, SIGNATURE.layers, SIGNATURE.hidden)).astype(np.float32)
    return {"tokens": random.integers(0, len(SIGNATURE.vocabulary), rows), "state": state}


@cache
def runtime(models: Path, model: str) -> Runtime:
    return Runtime(artifact.read(models / model / "1"))


def own_answer(models: Path, model: str, tensors: Tensors) -> Tensors:
    """What the runtime says to each row alone, by output."""
    if model == "tiny":
        return {"quantiles": openinference.own_answer(tensors)}
    own = runtime(models, model)
    signature = own.metadata.signature
    given = [tensors[spec.name] for spec in signature.inputs]
    rows = [own.run(*[array[row : row + 1] for array in given]) for row in range(len(given[0]))]
    return signature.split(np.concatenate(rows))


def assert_same(answer: Any, expected: Tensors) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(answer.as_numpy(name), values, name, strict=True)


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("model", TASKS)
def test_every_output_is_the_runtimes_own(models: Path, ask: Ask, model: str, rows: int) -> None:
    tensors = question(model, rows)
    assert_same(ask(model, tensors), own_answer(models, model, tensors))


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("model", TASKS)
def test_json_and_binary_have_the_same_bits(
    models: Path, rest: Any, model: str, sent: bool, asked: bool
) -> None:
    tensors = question(model, 5)
    expected = own_answer(models, model, tensors)
    outputs = [triton_rest.InferRequestedOutput(name, binary_data=asked) for name in expected]
    sending = inputs(tensors, triton_rest, binary_data=sent)
    assert_same(rest.infer(model, sending, outputs=outputs), expected)


@pytest.mark.parametrize("model", TASKS)
def test_many_at_once_get_their_own_answers_over_http(models: Path, rest: Any, model: str) -> None:
    questions = [question(model, 1 + seed % 5, seed) for seed in range(40)]
    waiting = [rest.async_infer(model, inputs(tensors, triton_rest)) for tensors in questions]
    for tensors, pending in zip(questions, waiting, strict=True):
        assert_same(pending.get_result(), own_answer(models, model, tensors))


def test_a_stream_answers_models_of_all_tasks_in_order(models: Path, rpc: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    rpc.start_stream(lambda result, error: answers.put((result, error)))
    asked = [(TASKS[at % 3], question(TASKS[at % 3], 1 + at % 4, at)) for at in range(60)]
    for model, tensors in asked:
        rpc.async_stream_infer(model, inputs(tensors, triton_rpc))
    for model, tensors in asked:
        result, error = answers.get(timeout=60)
        assert error is None
        assert result.get_response().model_name == model
        assert_same(result, own_answer(models, model, tensors))
    rpc.stop_stream()


@pytest.mark.parametrize(
    "asked", [("logits",), ("next_state",), ("next_state", "logits"), ("logits", "next_state")]
)
def test_only_the_outputs_that_are_asked_for_come_and_in_that_order(
    models: Path, ask: Ask, asked: tuple[str, ...]
) -> None:
    tensors = question("babble", 3)
    expected = own_answer(models, "babble", tensors)
    answer = ask("babble", tensors, *asked)
    assert_same(answer, {name: expected[name] for name in asked})
    response = answer.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    assert [one["name"] if isinstance(one, dict) else one.name for one in outputs] == [*asked]


@pytest.mark.parametrize("as_bytes", [{"logits"}, {"next_state"}, {"logits", "next_state"}, set()])
def test_each_output_may_come_in_its_own_way(models: Path, rest: Any, as_bytes: set[str]) -> None:
    tensors = question("babble", 3)
    outputs = [
        triton_rest.InferRequestedOutput(name, binary_data=name in as_bytes)
        for name in ("next_state", "logits")
    ]
    answer = rest.infer("babble", inputs(tensors, triton_rest), outputs=outputs)
    assert_same(answer, own_answer(models, "babble", tensors))
    for output in answer.get_response()["outputs"]:
        assert ("data" in output) != (output["name"] in as_bytes)


def test_the_requests_own_word_counts_for_outputs_that_have_none(http: httpx.Client) -> None:
    asked = [{"name": "logits", "parameters": {"binary_data": False}}, {"name": "next_state"}]
    body = json_body(question("babble", 2), outputs=asked, parameters={"binary_data_output": True})
    answer = http.post("/v2/models/babble/infer", json=body)
    logits, state = json.loads(answer.content[: int(answer.headers[HEADER])])["outputs"]
    assert len(logits["data"]) == 2 * len(SIGNATURE.vocabulary)
    assert state["parameters"]["binary_data_size"] == len(answer.content) - int(
        answer.headers[HEADER]
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("quantiles",), "unexpected inference output 'quantiles' for model 'babble'; it has 'log"),
        (("logits", "hidden"), "unexpected inference output 'hidden'"),
        (("logits", "next_state", "logits"), "inference output 'logits' is asked twice"),
    ],
)
def test_an_output_that_is_not_there_or_asked_twice_is_named(
    ask: Ask, asked: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        ask("babble", question("babble", 1), *asked)
    assert words in caught.value.message()


def greedy(step: Callable[[Tensors], Tensors], prompt: str, count: int) -> str:
    """The text that follows, of the likeliest tokens; the caller keeps the state."""
    state = np.zeros((1, SIGNATURE.layers, SIGNATURE.hidden), np.float32)
    codes = SIGNATURE.encode(prompt).tolist()
    for at in range(len(prompt) + count - 1):
        found = step({"tokens": np.array([codes[at]]), "state": state})
        state = found["next_state"]
        if at + 1 == len(codes):
            codes.append(int(found["logits"][0].argmax()))
    return SIGNATURE.decode(codes)


def test_a_clients_own_loop_writes_the_text_that_the_runtime_writes(models: Path, ask: Ask) -> None:
    def step(tensors: Tensors) -> Tensors:
        answer = ask("babble", tensors)
        return {name: answer.as_numpy(name) for name in ("logits", "next_state")}

    expected = greedy(partial(own_answer, models, "babble"), "time", 60)
    assert len(set(expected[4:])) > 2, "a text of one letter would show nothing"
    assert greedy(step, "time", 60) == expected


@pytest.mark.parametrize(
    ("model", "name", "value", "words"),
    [
        ("ledger", "features", np.nan, "row 1 of features holds NaN or infinity"),
        ("ledger", "features", -np.inf, "row 1 of features holds NaN or infinity"),
        ("babble", "state", np.nan, "row 1 of state holds NaN or infinity"),
        ("babble", "tokens", -1, "tokens must lie in 0..27"),
        ("babble", "tokens", 28, "tokens must lie in 0..27"),
    ],
)
def test_values_that_a_model_cannot_take_are_named(
    ask: Ask, model: str, name: str, value: float, words: str
) -> None:
    tensors = question(model, 3)
    tensors[name][1] = value
    with pytest.raises(InferenceServerException) as caught:
        ask(model, tensors)
    assert words in caught.value.message()


def test_null_is_no_number_to_a_regression(http: httpx.Client) -> None:
    body = json_body(question("ledger", 2))
    body["inputs"][0]["data"][4] = None
    answer = http.post("/v2/models/ledger/infer", json=body)
    assert answer.status_code == 422
    assert "row 1 of features holds NaN or infinity" in answer.json()["error"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rows", [1, 33])
def test_a_raw_body_is_the_only_input_and_is_answered_in_bytes(
    http: httpx.Client, rows: int, packed: bool
) -> None:
    features = ledger.features(rows)
    content, headers = features.tobytes(), {HEADER: "0"}
    if packed:
        content, headers = gzip.compress(content), headers | {"content-encoding": "gzip"}
    answer = http.post("/v2/models/ledger/infer", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    read = triton_rest.InferenceServerClient.parse_response_body
    found = read(answer.content, header_length=int(answer.headers[HEADER]))
    assert_same(found, {"prediction": ledger.answer(features)})


@pytest.mark.parametrize(
    ("model", "content", "words"),
    [
        (
            "ledger",
            b"",
            "'features' has 0 bytes of data, expected 12 for each row of features FP32",
        ),
        ("ledger", b"1234" * 4, "'features' has 16 bytes of data, expected 12 for each row"),
        ("tiny", b"1234", "one input, and model 'tiny' takes context, lengths; send JSON"),
        ("babble", b"1234", "one input, and model 'babble' takes tokens, state; send JSON"),
    ],
)
def test_a_raw_body_that_says_too_little_is_refused(
    http: httpx.Client, model: str, content: bytes, words: str
) -> None:
    answer = http.post(f"/v2/models/{model}/infer", content=content, headers={HEADER: "0"})
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_models_of_other_tasks_describe_their_tensors(http: httpx.Client, rpc: Any) -> None:
    said = http.get("/v2/models/babble").json()
    assert said["inputs"] == [
        {"name": "tokens", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "state", "datatype": "FP32", "shape": [-1, 2, 16]},
    ]
    assert said["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [-1, 28]},
        {"name": "next_state", "datatype": "FP32", "shape": [-1, 2, 16]},
    ]
    described = rpc.get_model_metadata("babble")
    assert [(one.name, [*one.shape]) for one in described.outputs] == [
        (one["name"], one["shape"]) for one in said["outputs"]
    ]
    config = http.get("/v2/models/ledger/config").json()
    assert config["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["output"] == [{"name": "prediction", "data_type": "TYPE_FP32", "dims": []}]
    columns = json.loads(config["parameters"]["features"]["string_value"])
    assert columns == ["area", "rooms", "age"]
    assert rpc.get_model_config("babble").config.output[1].dims == [2, 16]


def test_rows_of_all_tasks_are_counted_under_their_model(models: Path) -> None:
    with serving(models) as fresh, client(fresh) as http:
        for rows, model in enumerate(TASKS, 2):
            content, headers = binary_body(question(model, rows))
            answer = http.post(f"/v2/models/{model}/infer", content=content, headers=headers)
            assert answer.status_code == 200, answer.text
        found = http.get("/v2/models/stats").json()["model_stats"]
    counted = {one["name"]: one["inference_count"] for one in found}
    assert counted == {"tiny": 2, "ledger": 3, "babble": 4}
