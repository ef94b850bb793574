"""Messages and tensors: the same numbers whichever way they are sent, and every fault is named."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from service.api.rpc.infer import read, write
from service.api.rpc.proto.inference_pb2 import ModelInferRequest
from service.contract.forecast import ForecastSignature
from service.contract.language import LanguageSignature
from service.contract.metadata import Signature
from service.engine.job import Timing
from service.errors import Malformed
from service.inference import TensorAnswer, TensorInquiry

SIGNATURE = ForecastSignature(
    freq="D",
    seasonality=7,
    context_length=20,
    minimum_context=3,
    horizon=3,
    quantile_levels=(0.5,),
)
FLOATS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
    elements=st.floats(width=32, allow_subnormal=True),
)


def message(*, context: NDArray[Any] | None = None, contents: bool = False, **fields: Any) -> Any:
    """A good request by the classes of Triton's client."""
    context = np.ones((2, 4), np.float32) if context is None else context
    lengths = np.arange(len(context), dtype=np.int64)
    made = service_pb2.ModelInferRequest(**{"model_name": "m"} | fields)
    first = made.inputs.add(name="context", datatype="FP32", shape=context.shape)
    second = made.inputs.add(name="lengths", datatype="INT64", shape=lengths.shape)
    if contents:
        first.contents.fp32_contents.extend(context.ravel().tolist())
        second.contents.int64_contents.extend(lengths.tolist())
    else:
        made.raw_input_contents.extend([context.tobytes(), lengths.tobytes()])
    return made


def understood(
    made: Any, remaining_s: float | None = None, signature: Signature = SIGNATURE
) -> TensorInquiry:
    """As the server reads the bytes of a message."""
    request = ModelInferRequest.FromString(made.SerializeToString())
    return read(request, 1, signature, remaining_s)


def written(answer: TensorAnswer, *asked: str) -> Any:
    """As a client reads the bytes of an answer."""
    request = ModelInferRequest(id="id")
    for name in asked:
        request.outputs.add(name=name)
    body = write(answer, request).SerializeToString()
    return service_pb2.ModelInferResponse.FromString(body)


@given(FLOATS)
def test_raw_tensors_arrive_bit_for_bit(context: NDArray[np.float32]) -> None:
    found = understood(message(context=context)).tensors
    assert found["context"].tobytes() == context.tobytes()
    assert found["context"].shape == context.shape
    assert found["lengths"].tolist() == [*range(len(context))]


@given(FLOATS)
def test_tensors_sent_number_by_number_are_the_same(context: NDArray[np.float32]) -> None:
    found = understood(message(context=context, contents=True)).tensors
    np.testing.assert_array_equal(found["context"], context, strict=True)
    assert found["lengths"].tolist() == [*range(len(context))]


@given(FLOATS)
def test_numbers_of_other_types_beside_them_change_nothing(context: NDArray[np.float32]) -> None:
    made = message(context=context, contents=True)
    made.inputs[0].contents.fp64_contents.extend([1.0, 2.0])
    made.inputs[0].contents.int64_contents.append(3)
    np.testing.assert_array_equal(understood(made).tensors["context"], context, strict=True)


def test_the_answer_is_the_forecast_bit_for_bit() -> None:
    quantiles = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    found = written(TensorAnswer("m", 7, {"quantiles": quantiles}, Timing(0.0, 0.0)))
    assert (found.model_name, found.model_version, found.id) == ("m", "7", "id")
    assert [*found.raw_output_contents] == [quantiles.tobytes()]
    (output,) = found.outputs
    assert (output.name, output.datatype, [*output.shape]) == ("quantiles", "FP32", [5, 3, 2])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], ["logits", "next_state"]),
        (["logits"], ["logits"]),
        (["next_state"], ["next_state"]),
        (["next_state", "logits"], ["next_state", "logits"]),
    ],
)
def test_the_outputs_that_are_asked_for_are_told_in_that_order(
    asked: list[str], told: list[str]
) -> None:
    """The arrays are parts of a wider one, as a runtime's joined answer gives them."""
    joined = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    outputs = {"logits": joined[:, :5], "next_state": joined[:, 5:].reshape(3, 1, 4)}
    found = written(TensorAnswer("m", 1, outputs, Timing(0.0, 0.0)), *asked)
    assert [output.name for output in found.outputs] == told
    assert [[*output.shape] for output in found.outputs] == [[*outputs[n].shape] for n in told]
    expected = [np.ascontiguousarray(outputs[name]).tobytes() for name in told]
    assert [*found.raw_output_contents] == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["hidden"], "unexpected inference output 'hidden' for model 'm'; it has 'logits', 'next_"),
        (["logits", "quantiles"], "unexpected inference output 'quantiles' for model 'm'"),
        (["logits", "next_state", "logits"], "inference output 'logits' is asked twice"),
    ],
)
def test_an_output_that_a_model_has_not_or_twice_is_named(asked: list[str], words: str) -> None:
    made = message()
    for name in asked:
        made.outputs.add(name=name)
    language = LanguageSignature(unit="character", vocabulary=("a", "b"), layers=1, hidden=4)
    with pytest.raises(Malformed, match=re.escape(words)):
        understood(made, signature=language)


def spoilt(kind: str) -> Any:
    """A request with one fault."""
    made = message()
    context, lengths = made.inputs
    match kind:
        case "datatype":
            context.datatype = "FP64"
        case "no datatype":
            context.datatype = ""
        case "unknown datatype":
            lengths.datatype = "x" * 9999
        case "rank":
            context.shape.append(1)
        case "many axes":
            context.shape.extend([1] * 9999)
        case "no axes":
            del context.shape[:]
        case "no rows":
            context.shape[0] = 0
        case "negative":
            context.shape[:] = [-2, -4]
        case "huge":
            context.shape[:] = [2**62, 2**62]
        case "too few bytes":
            made.raw_input_contents[0] = made.raw_input_contents[0][:-1]
        case "no bytes":
            made.raw_input_contents[1] = b""
        case "too many bytes":
            made.raw_input_contents[0] += b"0000"
        case "one entry":
            del made.raw_input_contents[1]
        case "three entries":
            made.raw_input_contents.append(b"")
        case "both":
            lengths.contents.int64_contents.extend([1, 2])
        case "unknown input":
            lengths.name = "snowman \N{SNOWMAN}"
        case "twice":
            lengths.CopyFrom(context)
        case "neither":
            del made.raw_input_contents[:]
        case "other contents":
            made = message(contents=True)
            made.inputs[0].contents.fp64_contents.extend([1.0] * 8)
            del made.inputs[0].contents.fp32_contents[:]
        case "unknown output":
            made.outputs.add(name="y")
        case "output twice":
            made.outputs.add(name="quantiles")
            made.outputs.add(name="quantiles")
        case "classes":
            made.outputs.add(name="quantiles").parameters["classification"].int64_param = 3
        case "shared input":
            context.parameters["shared_memory_region"].string_param = "here"
        case "shared output":
            output = made.outputs.add(name="quantiles")
            output.parameters["shared_memory_region"].string_param = "here"
        case "sequence":
            made.parameters["sequence_id"].int64_param = 3
        case "priority":
            made.parameters["priority"].uint64_param = 1
        case "reserved":
            made.parameters["triton_anything"].bool_param = True
        case "negative timeout":
            made.parameters["timeout"].int64_param = -1
        case "text timeout":
            made.parameters["timeout"].string_param = "soon"
        case "yes timeout":
            made.parameters["timeout"].bool_param = True
        case "half timeout":
            made.parameters["timeout"].double_param = 0.5
    return made


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("datatype", "'context' data-type is 'FP64', but model 'm' expects 'FP32'"),
        ("no datatype", "'context' data-type is '', but model 'm' expects 'FP32'"),
        ("unknown datatype", "'lengths' data-type is 'xxx"),
        ("rank", "unexpected shape for input 'context' .* expected [-1, -1] .* got [2, 4, 1]"),
        ("many axes", "unexpected shape for input 'context' .* got [2, 4, 1, 1"),
        ("no axes", "unexpected shape for input 'context' .* got []"),
        ("no rows", "unexpected shape for input 'context' .* sizes of at least 1, got [0, 4]"),
        ("negative", "unexpected shape for input 'context' .* got [-2, -4]"),
        ("huge", "'context' has 32 bytes of data, expected 8507"),
        ("too few bytes", "'context' has 31 bytes of data, expected 32"),
        ("no bytes", "'lengths' has 0 bytes of data, expected 16"),
        ("too many bytes", "'context' has 36 bytes of data, expected 32"),
        ("one entry", "raw_input_contents has 1 entries for 2 inputs"),
        ("three entries", "raw_input_contents has 3 entries for 2 inputs"),
        ("both", "'lengths' has contents, and the message has raw_input_contents; send one"),
        ("unknown input", "unexpected inference input 'snowman \N{SNOWMAN}' for model 'm'"),
        ("twice", "inference input 'context' is sent twice"),
        ("neither", "'context' has 0 elements in fp32_contents, expected 8"),
        ("other contents", "'context' has 0 elements in fp32_contents, expected 8"),
        ("unknown output", "unexpected inference output 'y' for model 'm'; it has 'quantiles'"),
        ("output twice", "inference output 'quantiles' is asked twice"),
        ("classes", "inference output 'quantiles': classification is not supported"),
        ("shared input", "inference input 'context': shared memory is not supported"),
        ("shared output", "inference output 'quantiles': shared memory is not supported"),
        ("sequence", "parameter 'sequence_id' is not supported: requests are independent"),
        ("priority", "parameter 'priority' is not supported: the earliest deadline runs first"),
        ("reserved", "parameter 'triton_anything' is not supported"),
        ("negative timeout", "parameter 'timeout' is -1, expected whole microseconds"),
        ("text timeout", "parameter 'timeout' is 'soon', expected whole microseconds"),
        ("yes timeout", "parameter 'timeout' is True, expected whole microseconds"),
        ("half timeout", "parameter 'timeout' is 0.5, expected whole microseconds"),
    ],
)
def test_a_message_at_fault_is_refused_in_words_that_name_it(kind: str, words: str) -> None:
    with pytest.raises(Malformed, match=re.escape(words).replace(r"\.\*", ".*")) as caught:
        understood(spoilt(kind))
    assert len(caught.value.message) < 1200


def test_what_is_switched_off_is_no_fault() -> None:
    made = message()
    made.parameters["sequence_id"].int64_param = 0
    made.parameters["sequence_start"].bool_param = False
    made.parameters["anything"].string_param = "of the caller's own"
    made.outputs.add(name="quantiles").parameters["binary_data"].bool_param = False
    assert understood(made).timeout_s is None


@pytest.mark.parametrize(
    ("microseconds", "remaining_s", "timeout_s"),
    [
        (None, None, None),
        (None, 2.5, 2.5),
        (0, None, None),
        (0, 2.5, 2.5),
        (1_500_000, None, 1.5),
        (1_500_000, 2.5, 1.5),
        (3_500_000, 2.5, 2.5),
        (2**63 - 1, None, 86_400.0),
        (None, 1e12, 86_400.0),
        (5, -0.5, -0.5),
    ],
)
def test_the_nearer_of_timeout_and_deadline_counts(
    microseconds: int | None, remaining_s: float | None, timeout_s: float | None
) -> None:
    for field in ("int64_param", "uint64_param"):
        made = message()
        if microseconds is not None:
            setattr(made.parameters["timeout"], field, microseconds)
        assert understood(made, remaining_s).timeout_s == timeout_s
