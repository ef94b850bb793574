"""The metadata: nothing that is wrong can be written, and what is written reads back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.contract.forecast import (
    Category,
    Covariates,
    ForecastMetadata,
    ForecastSignature,
    Scores,
)
from service.contract.frequency import Frequency
from tests.artifacts import edit, toy


def metadata(**changes: object) -> ForecastMetadata:
    """The committed metadata with other top-level fields, by way of JSON."""
    document = edit.read_metadata(edit.TINY) | changes
    return ForecastMetadata.model_validate_json(json.dumps(document))


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
    found = ForecastMetadata.model_validate_json(text)
    assert found.model_dump_json(indent=2) + "\n" == text
    assert ForecastMetadata.model_validate_json(found.model_dump_json()) == found


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
    with pytest.raises(ValidationError, match=r"signature says quantiles float32 \[batch, 6, 9\]"):
        metadata(outputs=outputs)


def test_there_is_exactly_one_output() -> None:
    (output,) = edit.read_metadata(edit.TINY)["outputs"]
    assert metadata(outputs=[output]).outputs[0].name == "quantiles"
    for outputs in ([], [output, output]):
        with pytest.raises(ValidationError, match="outputs are"):
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
        ForecastMetadata.model_validate_json(text.replace('"atol": 2e-6', f'"atol": {number}'))


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


def test_metadata_from_before_covariates_is_read_as_having_none() -> None:
    older = edit.read_metadata(edit.TINY)
    for field in ("covariates", "calendar"):
        older["signature"].pop(field)
    found = ForecastMetadata.model_validate_json(json.dumps(older))
    assert found.signature.covariates == Covariates()
    assert not found.signature.covariates
    assert not found.signature.calendar
    assert [spec.name for spec in found.signature.inputs] == ["context", "lengths"]


def test_a_signature_with_everything_survives_a_round_trip() -> None:
    text = toy.SIGNATURE.model_dump_json()
    assert ForecastSignature.model_validate_json(text) == toy.SIGNATURE


def test_only_the_tensors_that_apply_are_wanted_and_always_in_one_order() -> None:
    everything = [str(spec) for spec in toy.SIGNATURE.inputs]
    assert everything == [
        "context float32 [batch, time]",
        "lengths int64 [batch]",
        "timestamps int64 [batch, span]",
        "past_covariates float32 [batch, time, 2]",
        "known_covariates float32 [batch, span, 1]",
        "static_features float32 [batch, 1]",
        "static_categories int64 [batch, 1]",
    ]
    none: dict[str, Any] = {"past": (), "known": (), "static": (), "categories": ()}
    for at, kind in enumerate(none):
        declared = toy.SIGNATURE.covariates.model_copy(update={kind: ()})
        rest = signature(covariates=declared, calendar=True).inputs
        assert [str(spec) for spec in rest] == everything[: 3 + at] + everything[4 + at :]
    assert [spec.name for spec in signature(calendar=True).inputs][2:] == ["timestamps"]


def test_inputs_of_another_kind_than_the_signature_are_refused() -> None:
    document = edit.read_metadata(edit.TINY)
    calendar = document["signature"] | {"calendar": True}
    with pytest.raises(ValidationError, match="signature says .*timestamps int64"):
        metadata(signature=calendar)
    stray = {"name": "timestamps", "dtype": "int64", "shape": ["batch", "span"]}
    with pytest.raises(ValidationError, match="inputs are .*timestamps int64"):
        metadata(inputs=[*document["inputs"], stray])


@pytest.mark.parametrize(
    "wrong",
    [
        {"past": ("a", "a")},
        {"past": ("a",), "known": ("a",)},
        {"known": ("a",), "static": ("a",)},
        {"static": ("a",), "categories": (Category(name="a", values=("x",)),)},
    ],
)
def test_a_name_has_one_meaning(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"\['a'\] are declared twice"):
        Covariates(**wrong)


@pytest.mark.parametrize("values", [("b", "a"), ("a", "a")])
def test_the_values_of_a_category_are_sorted_and_distinct(values: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="'region' must be sorted and distinct"):
        Category(name="region", values=values)


@given(st.sets(st.text(max_size=3), max_size=20), st.text(max_size=3))
def test_a_code_is_the_place_of_a_value_and_0_is_any_other(values: set[str], other: str) -> None:
    category = Category(name="region", values=tuple(sorted(values)))
    codes = [category.code(value) for value in sorted(values)]
    assert codes == list(range(1, len(values) + 1))
    assert category.code(None) == 0
    assert (category.code(other) == 0) == (other not in values)


def test_codes_are_in_the_order_of_the_categories() -> None:
    declared = Covariates(
        categories=(
            Category(name="region", values=("north", "south")),
            Category(name="kind", values=("a", "b", "c")),
        )
    )
    assert declared.codes(["south", "a"]) == (2, 1)
    assert declared.codes([None, "d"]) == (0, 0)
    with pytest.raises(ValueError, match="shorter"):
        declared.codes(["south"])
