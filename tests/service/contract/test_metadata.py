"""The metadata: nothing that is wrong can be written, and what is written reads back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.contract.frequency import Frequency
from service.contract.metadata import ForecastSignature, Metadata, Scores
from tests.artifacts import edit


def metadata(**changes: object) -> Metadata:
    """The committed metadata with other top-level fields, by way of JSON."""
    document = edit.read_metadata(edit.TINY) | changes
    return Metadata.model_validate_json(json.dumps(document))


def signature(**changes: Any) -> ForecastSignature:
    fields: dict[str, Any] = {
        "freq": "4h",
        "seasonality": 6,
        "context_length": 24,
        "minimum_context": 1,
        "horizon": 6,
        "quantile_levels": (0.1, 0.5, 0.9),
    }
    return ForecastSignature(**fields | changes)


def test_the_committed_metadata_survives_a_round_trip() -> None:
    text = (edit.TINY / "metadata.json").read_text()
    found = Metadata.model_validate_json(text)
    assert found.model_dump_json(indent=2) + "\n" == text
    assert Metadata.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (0.1, 0.9),  # no median
        (0.9, 0.5, 0.1),
        (0.1, 0.5, 0.5, 0.9),
        (0.5, 0.1),
        (0.0, 0.5),
        (0.5, 1.0),
        (-0.1, 0.5),
        (0.5, 1.5),
        (0.5, float("nan")),
        (0.5, float("inf")),
    ],
)
def test_levels_must_increase_between_0_and_1_and_hold_the_median(
    levels: tuple[float, ...],
) -> None:
    with pytest.raises(ValidationError, match="quantile_levels"):
        signature(quantile_levels=levels)


@given(st.sets(st.floats(0.001, 0.999), max_size=20))
def test_any_increasing_levels_with_the_median_are_kept(levels: set[float]) -> None:
    usable = tuple(sorted(levels | {0.5}))
    assert signature(quantile_levels=usable).quantile_levels == usable


@pytest.mark.parametrize("name", ["seasonality", "context_length", "minimum_context", "horizon"])
def test_a_count_of_steps_is_at_least_1_and_whole(name: str) -> None:
    for value in (0, -1, 1.5, "6", True, None):
        with pytest.raises(ValidationError, match=name):
            signature(**{name: value})
    assert getattr(signature(**{name: 1}), name) == 1


def test_a_freq_that_no_request_could_use_is_refused() -> None:
    with pytest.raises(ValidationError, match="'fortnightly' is not understood"):
        signature(freq="fortnightly")
    assert signature(freq="MS").freq == "MS"
    assert Frequency.parse(signature().freq) == Frequency.parse("240min")


@pytest.mark.parametrize("shape", [["batch", 7, 9], ["batch", 6, 3], ["batch", 6], ["rows", 6, 9]])
def test_outputs_of_another_shape_than_the_signature_are_refused(shape: list[object]) -> None:
    outputs = [{"name": "quantiles", "dtype": "float32", "shape": shape}]
    with pytest.raises(ValidationError, match=r"shape \('batch', 6, 9\), as the signature says"):
        metadata(outputs=outputs)


def test_there_is_exactly_one_output() -> None:
    (output,) = edit.read_metadata(edit.TINY)["outputs"]
    assert metadata(outputs=[output]).outputs[0].name == "quantiles"
    for outputs in ([], [output, output]):
        with pytest.raises(ValidationError, match="outputs must be one tensor"):
            metadata(outputs=outputs)


@pytest.mark.parametrize("name", ["mase", "smape", "wql", "coverage"])
def test_a_score_is_a_finite_number_or_undefined(name: str) -> None:
    scores: dict[str, float | None] = {"mase": 1.0, "smape": 2.0, "wql": 3.0, "coverage": 0.8}
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValidationError, match=rf"(?s){name}.*finite"):
            Scores(**scores | {name: value})
    undefined = Scores(**scores | {name: None})
    assert Scores.model_validate_json(undefined.model_dump_json()) == undefined


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_in_the_file_can_be_anything_but_finite(number: str) -> None:
    text = (edit.TINY / "metadata.json").read_text()
    assert '"atol": 2e-6' in text
    with pytest.raises(ValidationError, match="finite"):
        Metadata.model_validate_json(text.replace('"atol": 2e-6', f'"atol": {number}'))


@pytest.mark.parametrize("name", ["", ".tiny", "_tiny", "a/b", "a.b", "..", "tiny\n", "a" * 65])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        metadata(name=name)


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", None])
def test_a_version_is_a_positive_integer(version: object) -> None:
    with pytest.raises(ValidationError, match="version"):
        metadata(version=version)


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_a_digest_is_64_lowercase_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        metadata(model_file={"sha256": digest, "size": 1, "opset": 20})


def test_numbers_are_never_read_from_text() -> None:
    with pytest.raises(ValidationError, match=r"model_file\.size"):
        metadata(model_file={"sha256": "0" * 64, "size": "12", "opset": 20})


def test_metadata_is_frozen_to_the_last_field() -> None:
    found = metadata()
    for part, name in (
        (found, "name"),
        (found.signature, "horizon"),
        (found.model_file, "sha256"),
        (found.inputs[0], "name"),
        (found.parity["cpu"], "worst"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))


def test_an_unknown_field_is_refused_wherever_it_is() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        signature(colour="green")
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        metadata(colour="green")
