"""What a table says beside the target: where it lands in the panel, and what is refused."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.forecast import Category, Covariates
from training.data import InvalidTable, Panel, Roles, from_frame

ROLES = Roles(past=("visits",), known=("price", "promo"), static=("size",), categories=("region",))


def shops(count: int = 3, steps: int = 8) -> pl.DataFrame:
    """Daily shops, whose columns are told apart by their values."""
    days = list(pd.date_range("2024-03-01", periods=steps))
    k = np.arange(steps)
    return pl.concat(
        pl.DataFrame(
            {
                "item_id": f"shop-{item}",
                "timestamp": days,
                "target": 100.0 * item + k,
                "visits": 1000.0 * item + k,
                "price": 0.5 * item + k,
                "promo": (k + item) % 3 == 0,
                "size": 10.0 * item,
                "region": ["north", "south", None][item % 3],
            }
        )
        for item in range(count)
    )


def with_cell(frame: pl.DataFrame, row: int, column: str, value: object) -> pl.DataFrame:
    """The table with another value in one row, from 1."""
    cell = pl.when(pl.int_range(pl.len()) == row - 1).then(pl.lit(value)).otherwise(pl.col(column))
    return frame.with_columns(cell.alias(column))


def refusal(frame: pl.DataFrame, roles: Roles = ROLES) -> str:
    with pytest.raises(InvalidTable) as caught:
        from_frame(frame, "D", "sales.csv", roles)
    return str(caught.value)


@given(
    kept=st.lists(st.booleans(), min_size=24, max_size=24),
    missing=st.lists(st.sampled_from(["visits", "price", "promo", "size", "region"]), max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_every_value_lands_at_its_step(kept: list[bool], missing: list[str], order: object) -> None:
    """Against pandas: reindex each item to full days."""
    whole = shops()
    keep = np.array(kept)
    keep[[0, 7, 8, 15, 16, 23]] = True
    for name in missing:
        whole = with_cell(whole, 3, name, None)
    frame = whole.filter(pl.Series(keep))
    panel = from_frame(frame.select(sorted(frame.columns)), "D", "table", ROLES)
    assert panel.covariates == Covariates(
        past=("visits",),
        known=("price", "promo"),
        static=("size",),
        categories=(Category(name="region", values=("north", "south")),),
    )
    table = pd.DataFrame(frame.to_dict(as_series=False))
    for series, (item_id, part) in zip(panel.series, table.groupby("item_id"), strict=True):
        full = part.set_index("timestamp").resample("D").asfreq()
        assert series.item_id == item_id
        np.testing.assert_array_equal(series.target, full["target"])
        np.testing.assert_array_equal(series.past, full[["visits"]])
        np.testing.assert_array_equal(series.known, full[["price", "promo"]].astype(float))
        assert series.static.tolist() == [part["size"].dropna().iloc[0]]
        texts = part["region"].dropna()
        assert series.categories == (texts.iloc[0] if len(texts) else None,)


def test_a_panel_without_roles_has_empty_arrays_of_its_length() -> None:
    panel = from_frame(shops().select("item_id", "timestamp", "target"))
    assert panel.covariates == Covariates()
    assert {s.past.shape for s in panel.series} == {s.known.shape for s in panel.series} == {(8, 0)}
    assert {(s.static.shape, s.categories) for s in panel.series} == {((0,), ())}


def test_interleaved_items_keep_their_own_values() -> None:
    frame = shops()
    mixed = frame.sort("timestamp", maintain_order=True)
    expected = from_frame(frame, None, "table", ROLES).fingerprint
    assert from_frame(mixed, None, "table", ROLES).fingerprint == expected


def fingerprint(frame: pl.DataFrame, roles: Roles = ROLES) -> str:
    panel: Panel = from_frame(frame, "D", "table", roles)
    return panel.fingerprint


def test_the_fingerprint_tells_every_covariate_apart() -> None:
    frame = shops()
    others = [
        with_cell(frame, 2, "visits", 7.5),
        with_cell(frame, 2, "price", None),
        with_cell(frame, 2, "promo", True),
        frame.with_columns(pl.col("size") + 1),
        frame.with_columns(region=pl.col("region").fill_null("north")),
        frame.with_columns(region=pl.col("region").replace("south", "west")),
    ]
    renamed = frame.rename({"visits": "calls"})
    swapped = Roles(("visits",), ("promo", "price"), ("size",), ("region",))
    found = {fingerprint(frame), *map(fingerprint, others), fingerprint(frame, swapped)}
    found.add(fingerprint(renamed, Roles(("calls",), *list(vars(ROLES).values())[1:4])))
    assert len(found) == 9
    assert fingerprint(frame) == fingerprint(shops())


def test_rows_behind_the_last_target_are_the_future_and_left_out_of_training() -> None:
    frame = shops(steps=8)
    ahead = frame.with_columns(
        target=pl.when(pl.col("timestamp") < pd.Timestamp("2024-03-06")).then("target")
    )
    panel = from_frame(ahead, "D", "table", ROLES)
    short = from_frame(
        frame.filter(pl.col("timestamp") < pd.Timestamp("2024-03-06")), "D", "table", ROLES
    )
    assert panel.fingerprint == short.fingerprint
    assert [len(series.known) for series in panel.series] == [5, 5, 5]
    without = Roles(("visits", "price", "promo"), (), ("size",), ("region",))
    assert len(from_frame(ahead, "D", "table", without).series[0].target) == 8


@pytest.mark.parametrize(
    ("column", "value", "shown", "flag"),
    [
        ("size", 11.5, "size is 11.5, but 10.0 in row 9", "--static"),
        ("region", "west", "region is 'west', but 'south' in row 9", "--category"),
    ],
)
def test_a_value_of_an_item_that_changes_names_both_rows(
    column: str, value: object, shown: str, flag: str
) -> None:
    message = refusal(with_cell(with_cell(shops(), 12, column, value), 14, column, None))
    assert f"sales.csv: item 'shop-1', row 12: {shown}; {flag} is one value per item" in message
    assert ("name the column with --past or --known" in message) == (column == "size")


@pytest.mark.parametrize("column", ["size", "region"])
def test_a_value_of_an_item_may_be_left_out_of_rows(column: str) -> None:
    frame = with_cell(with_cell(shops(), 9, column, None), 16, column, None)
    assert fingerprint(frame) == fingerprint(shops())


@pytest.mark.parametrize(
    ("column", "value", "problem", "flag"),
    [
        ("visits", 3.0, "is 3 in every row", "--past visits"),
        ("price", None, "has no value in any row", "--known price"),
        ("promo", True, "is 1 in every row", "--known promo"),
        ("size", 7, "is 7 in every row", "--static size"),
        ("region", "west", "is 'west' in every row", "--category region"),
        ("region", None, "has no value in any row", "--category region"),
    ],
)
def test_a_column_that_never_changes_is_refused(
    column: str, value: object, problem: str, flag: str
) -> None:
    message = refusal(shops().with_columns(pl.lit(value).alias(column)))
    assert f"column {column} {problem}, so nothing can be learnt from it" in message
    assert f"drop the column and leave out {flag}" in message


def test_a_name_of_many_words_is_a_name() -> None:
    frame = shops().rename({"price": "shelf price, EUR"})
    roles = Roles(("visits",), ("shelf price, EUR", "promo"), ("size",), ("region",))
    assert from_frame(frame, None, "t", roles).covariates.known == roles.known
    with pytest.raises(InvalidTable, match=re.escape("column shelf price, EUR has no role")):
        from_frame(frame, None, "t", Roles(("visits",), ("promo",), ("size",), ("region",)))
