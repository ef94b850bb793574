"""The quantiles of a forecast -> the body of an infer response, in JSON or in bytes, or packed.

JSON holds the fewest digits that read back to the same float32; bytes are the float32 themselves.
"""

import asyncio
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from service.api.json_body import write_numbers
from service.api.openinference.question import BINARY_SIZE, HEADER
from service.api.responses import Reply, to_json
from service.contract.metadata import QUANTILES
from service.forecaster import TensorForecast

SMALLEST_PACKED = 4096  # bytes; a smaller body costs more to pack than to send
_LARGE = 1 << 16  # bytes that are better packed beside the event loop
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # of zlib, by encoding


async def write_answer(
    forecast: TensorForecast,
    identifier: str | None,
    *,
    binary: bool,
    accepted: bytes | None,
    headers: Sequence[tuple[bytes, bytes]],
) -> Reply:
    """The whole response.

    Args:
        identifier: what the request called itself, sent back.
        binary: the quantiles as bytes behind the JSON.
        accepted: the value of Accept-Encoding.
    """
    quantiles = np.ascontiguousarray(forecast.quantiles, np.float32)
    output: dict[str, Any] = {"name": QUANTILES, "datatype": "FP32", "shape": quantiles.shape}
    content = {"model_name": forecast.model, "model_version": str(forecast.version)}
    if identifier is not None:
        content["id"] = identifier
    if binary:
        output["parameters"] = {BINARY_SIZE: quantiles.nbytes}
        text = to_json({**content, "outputs": [output]})
        body, media = text + quantiles.tobytes(), b"application/octet-stream"
        headers = [*headers, (HEADER, b"%d" % len(text))]
    else:
        text = to_json({**content, "outputs": [output]}).removesuffix(b"}]}")
        data = await write_numbers(quantiles.ravel())
        body, media = b'%b,"data":%b}]}' % (text, data), b"application/json"
    if accepted is None or len(body) < SMALLEST_PACKED:
        return Reply(body, 200, media, headers)
    return await _packed(body, media, accepted, headers)


async def _packed(
    body: bytes, media: bytes, accepted: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> Reply:
    encoding = choose_encoding(accepted)
    if encoding is None:
        return Reply(body, 200, media, headers)
    if len(body) < _LARGE:
        packed = _pack(body, encoding)
    else:
        packed = await asyncio.to_thread(_pack, body, encoding)
    return Reply(packed, 200, media, [*headers, (b"content-encoding", encoding.encode())])


@lru_cache(maxsize=256)  # clients of one kind say the same
def choose_encoding(accepted: bytes) -> str | None:
    """gzip or deflate, where an Accept-Encoding names it and does not give it the weight 0."""
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:  # no weight at all
            weights[name] = 0
    best = max(_WINDOWS, key=lambda name: weights.get(name, 0))
    return best if weights.get(best, 0) > 0 else None


def _pack(body: bytes, encoding: str) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOWS[encoding])
    return packer.compress(body) + packer.flush()
