"""A usual infer request to a forecaster, read and answered in C: the handler's answer, sooner."""

from functools import lru_cache

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
from service.express._express import read_tensors, write_numbers

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
    begin, outputs = _around(metadata.name, metadata.version, metadata.outputs[0].name, shape)
    if question.name is not None:
        begin = b'%b,"id":%b' % (begin, to_json(question.name))

    def write(answer: NDArray[np.float32]) -> bytes:
        return b"%b%b%b}]}" % (begin, outputs, write_numbers(answer))

    rows = question.rows(buckets(signature.context_length))
    return Asked(model, rows, exchange.timeout_s, write)


def _is_packed(exchange: Exchange, shape: tuple[int, int, int]) -> bool:
    """Whether the answer may have to be packed."""
    accepted = exchange.header(b"accept-encoding")
    if accepted is None or choose_encoding(accepted) is None:
        return False
    rows, horizon, levels = shape
    return rows * horizon * levels * _LONGEST_NUMBER + _LONGEST_HEAD >= SMALLEST_PACKED


@lru_cache(maxsize=1024)  # models are few, and so are the sizes of requests
def _around(
    model: str, version: int, output: str, shape: tuple[int, int, int]
) -> tuple[bytes, bytes]:
    """What stands before the numbers of an answer: up to its id, and from there on."""
    begin = b'{"model_name":%b,"model_version":"%d"' % (to_json(model), version)
    return begin, b',"outputs":[%b,"data":' % described(output, shape)
