"""A regression's question: one row of a table, or the first golden one."""

from pathlib import Path

import numpy as np

from service.contract.artifact import Artifact
from service.contract.metadata import Array
from service.contract.regression import FEATURES, PREDICTION, RegressionMetadata
from training.explain.question import Answers, CannotExplain, Floats, Question
from training.tables.source import pieces


def question(artifact: Artifact, metadata: RegressionMetadata, source: str | None) -> Question:
    """What to ask a regression.

    Args:
        source: the path of a table, whose first row is taken; its target, if there is one, is what
            the prediction is compared with.

    Raises:
        CannotExplain: a row that lacks a column, or holds something other than a finite number.
        InvalidTable: from the table.
    """
    signature = metadata.signature
    if source is None:
        title, row, actual = "the first golden row", artifact.golden.inputs[FEATURES][:1], None
    else:
        title = f"row 1 of {Path(source).name}"
        row, actual = _first(source, signature.features, signature.target)
    values: Floats = row[0].astype(np.float64)

    def judge(answers: Answers) -> float:
        prediction = float(answers[0][PREDICTION][0])
        return prediction if actual is None else abs(prediction - actual)

    return Question(
        title=title,
        runs=({FEATURES: row},),
        judge=judge,
        measure=f"predicted {signature.target}" if actual is None else "absolute error",
        shown=lambda _: values,
        shown_as="value",
        labels=signature.features,
    )


def _first(source: str, columns: tuple[str, ...], target: str) -> tuple[Array, float | None]:
    """The first row [1, F], and its target where the table has one."""
    frame = next(iter(pieces(Path(source)))).frame
    if missing := [name for name in columns if name not in frame.columns]:
        raise CannotExplain(
            f"{source} lacks the columns {', '.join(missing)}; the model needs {', '.join(columns)}"
        )
    if not frame.height:
        raise CannotExplain(f"{source} has no row; give a table with at least one")
    first = frame.row(0, named=True)
    row = np.array([[_number(source, name, first[name]) for name in columns]], np.float32)
    known = first.get(target) not in (None, "")
    return row, _number(source, target, first[target]) if known else None


def _number(source: str, column: str, cell: object) -> float:
    try:
        number = float(str(cell))
    except ValueError:
        number = float("nan")
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise CannotExplain(f"{source}: {column} of row 1 is {cell!r}; a finite number is needed")
    return number
