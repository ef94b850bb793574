"""The outputs of a model -> the body of an infer response, in JSON or in bytes, or packed.

JSON holds the fewest digits that read back to the same float32; bytes are the float32 themselves.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from service.api.exchange import SPLIT
from service.api.json_body import write_numbers
from service.api.responses import Reply, to_json
from service.inference import TensorAnswer

SMALLEST_PACKED = 4096  # bytes; a smaller body costs more to pack than to send
_LARGE = 1 << 16  # bytes that are better packed beside the event loop
_JSON, _BYTES = b"application/json", b"application/octet-stream"
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # of zlib, by encoding


async def write_answer(
    answer: TensorAnswer,
    identifier: str | None,
    *,
    outputs: Mapping[str, bool],
    accepted: bytes | None,
    headers: Sequence[tuple[bytes, bytes]],
) -> Reply:
    """The whole response.

    Args:
        identifier: what the request called itself, sent back.
        outputs: the names of those that are wanted, in their order; True: as bytes behind the JSON.
        accepted: the value of Accept-Encoding.
    """
    texts: list[bytes] = []
    raw: list[bytes] = []
    for name, binary in outputs.items():
        values = answer.outputs[name]
        output = described(name, values.shape)
        if binary:
            raw.append(values.tobytes())
            texts.append(b'%b,"parameters":{"binary_data_size":%d}}' % (output, values.nbytes))
        else:
            texts.append(b'%b,"data":%b}' % (output, await write_numbers(values.ravel())))
    told = b"" if identifier is None else b',"id":%b' % to_json(identifier)
    head = (to_json(answer.model), answer.version, told, b",".join(texts))
    body, media = b'{"model_name":%b,"model_version":"%d"%b,"outputs":[%b]}' % head, _JSON
    if raw:
        headers = [*headers, (SPLIT, b"%d" % len(body))]
        body, media = b"".join((body, *raw)), _BYTES
    if accepted is None or len(body) < SMALLEST_PACKED:
        return Reply(body, 200, media, headers)
    return await _packed(body, media, accepted, headers)


@lru_cache(maxsize=1024)
def described(name: str, shape: tuple[int, ...]) -> bytes:
    """The beginning of an output's JSON."""
    return to_json({"name": name, "datatype": "FP32", "shape": shape})[:-1]


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
