"""A usual infer request to a forecaster, read and answered in C: the handler's answer, sooner."""

import numpy as np
from numpy.typing import NDArray

from service.api.asked import Asked, is_plain, is_usual
from service.api.exchange import SPLIT, Exchange
from service.api.openinference.answer import SMALLEST_PACKED, choose_encoding, described
from service.api.openinference.lifecycle import read_version
from service.api.responses import to_json
from service.contract.buckets import buckets
from service.contract.forecast import ForecastMetadata
from service.errors import ServiceError
from service.express._express import Question, read_tensors, write_numbers

_LONGEST_NUMBER = 16  # bytes of one in JSON, and a comma
_LONGEST_HEAD = 512  # bytes of what stands around them


def ask(exchange: Exchange, body: bytes) -> Asked | None:
    """What a body asks; None: the handler is to look at it."""
    if not is_plain(exchange, body) or exchange.header(SPLIT) is not None:
        return None
    question = read_tensors(body)
    if question is None:
        return None
    name, version = exchange.parameters["name"], exchange.parameters.get("version")
    try:
        which = None if version is None else read_version(version)
        model = exchange.house.inference.repository.get(name, which, body)
    except ServiceError:
        return None
    if not is_usual(exchange, question, model):
        return None
    metadata = model.metadata
    assert isinstance(metadata, ForecastMetadata)
    signature = metadata.signature
    shape = (len(question), signature.horizon, len(signature.quantile_levels))
    if signature.calendar or _is_packed(exchange, shape):
        return None
    begin = _begin(question, metadata, shape)

    def write(answer: NDArray[np.float32]) -> bytes:
        return b"%b%b}]}" % (begin, write_numbers(answer))

    rows = question.rows(buckets(signature.context_length))
    return Asked(model, rows, exchange.timeout_s, write)


def _is_packed(exchange: Exchange, shape: tuple[int, int, int]) -> bool:
    """Whether the answer may have to be packed."""
    accepted = exchange.header(b"accept-encoding")
    if accepted is None or choose_encoding(accepted) is None:
        return False
    rows, horizon, levels = shape
    return rows * horizon * levels * _LONGEST_NUMBER + _LONGEST_HEAD >= SMALLEST_PACKED


def _begin(question: Question, metadata: ForecastMetadata, shape: tuple[int, int, int]) -> bytes:
    """The answer up to its numbers."""
    told = b"" if question.name is None else b',"id":%b' % to_json(question.name)
    (output,) = metadata.outputs
    head = (to_json(metadata.name), metadata.version, told, described(output.name, shape))
    return b'{"model_name":%b,"model_version":"%d"%b,"outputs":[%b,"data":' % head
