"""Who there is no room for, told so at once: no exchange is made, and no error raised.

In overload most requests end here, and what they cost is taken from those that are answered. Only
where a refusal depends on nothing but the room: without keys, other origins and a witness.
"""

import time
from functools import lru_cache

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.api.exchange import time_left
from service.api.heads import Head
from service.api.responses import Errors, error_reply, observe_error
from service.errors import Malformed, Overloaded
from service.house import House
from service.telemetry import metrics
from service.telemetry.request_id import HEADER as REQUEST_ID
from service.telemetry.request_id import request_id

_STATUS = str(Overloaded.status)


def judge(head: Head, house: House, waited_s: float, defaults: bytes) -> bytes | bool:
    """The whole answer to whom there is no room for, counted; else whether there is known to be.

    False where others are to judge: see `front.refuse`.

    Args:
        waited_s: for which the request lay unread.
        defaults: lines of headers that every answer has.
    """
    route = head.target.route
    if not route.runs_model or house.drain.begun:
        return False
    if house.keyring is not None or house.cors is not None or house.witness is not None:
        return False
    began = time.perf_counter()
    try:
        timeout_s = time_left(head.headers, waited_s)
    except Malformed:
        return False
    full = house.inference.no_room(timeout_s)
    if full is None:
        return True
    said, body = _words(route.errors, full.message, full.retry_after)
    name = request_id(head.headers.get(REQUEST_ID)).encode()
    observe_error(full)
    metrics.observe_request(route.path, _STATUS, time.perf_counter() - began + waited_s)
    return b"".join((STATUS_LINE[full.status], defaults, said, name, b"\r\n\r\n", body))


@lru_cache(maxsize=1024)
def _words(errors: Errors, message: str, retry_after: int) -> tuple[bytes, bytes]:
    """The headers, up to the value of the last one, and the body."""
    reply = error_reply(Overloaded(message, retry_after), errors)
    lines = [b"%b: %b\r\n" % header for header in reply.raw_headers]
    return b"".join((*lines, REQUEST_ID, b": ")), reply.body
