"""Regressions: `POST /v1/regress` in JSON, each row an object of its columns.

A table as lists without names would be shorter, but then a column in a wrong place is a wrong
answer and not an error. Callers of thousands of rows have the tensors of the Open Inference
Protocol.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.api.body import BodyReader
from service.api.dialect import Dialect
from service.api.exchange import Exchange
from service.api.json_body import write_numbers
from service.api.model_name import read_model
from service.api.responses import Reply, error_response, to_json
from service.contract.regression import PREDICTION
from service.inference import TensorAnswer
from service.regressor import regress


class RegressBody(BaseModel):
    """What to predict, with which model."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: str = Field(description="name, name@version or name@alias", examples=["housing"])
    rows: Annotated[list[dict[str, float]], Field(fail_fast=True)] = Field(
        description="Each row by column name: a number for every feature of the model's signature, "
        "in any order, and nothing else.",
        examples=[[{"rooms": 6.2, "crime": 0.1}, {"rooms": 5.4, "crime": 2.8}]],
    )


class RegressAnswer(BaseModel):
    """Predictions in the order of the rows."""

    model: str
    version: int
    predictions: list[float] = Field(description="In the units of the target")


regression = Dialect(error_response, prefix="/v1/regress", tag="regress")
_BODY = BodyReader(RegressBody)


@regression.post(
    "/v1/regress",
    runs_model=True,
    response_model=RegressAnswer,
    openapi_extra=_BODY.documentation,
)
async def predict(exchange: Exchange) -> Reply:
    """Predict the target of every row of the body."""
    inference, timeout_s = exchange.house.inference, exchange.timeout_s
    content = await exchange.content()
    body = _BODY.read(content)
    name, version = read_model(body.model)
    answer = await regress(inference, name, version, body.rows, timeout_s, content)
    headers = exchange.answered_by(answer.model, answer.version, answer.timing)
    return Reply(await _write(answer), headers=headers)


async def _write(answer: TensorAnswer) -> bytes:
    numbers = await write_numbers(answer.outputs[PREDICTION])
    head = (to_json(answer.model), answer.version, numbers)
    return b'{"model":%b,"version":%d,"predictions":%b}' % head
