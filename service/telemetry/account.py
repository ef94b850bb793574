"""What is known of a request when it has ended: for the access log and for traces."""

import time
from typing import Any

import msgspec

from service.engine.job import Timing


class Account(msgspec.Struct, frozen=True, gc=False):
    """One request. Moments are `time.perf_counter()` seconds."""

    request_id: str
    method: str  # of HTTP; empty for gRPC
    route: str  # the template of its path, as in /metrics
    status: str  # as in /metrics
    sent: int  # bytes of the answer's body
    arrived: float
    ended: float
    wall_ns: int  # since 1970, when it ended
    client: str | None  # address
    key: str | None  # id, never the secret
    answered: "Answered | None"  # None: an error, or nothing that runs a model
    trace: Any = None  # spans.Trace, where this request is traced

    @property
    def timing(self) -> Timing | None:
        """Where the time went; None where no model ran."""
        return None if self.answered is None else self.answered.timing


class Answered(msgspec.Struct, gc=False):
    """Which version answered."""

    model: str
    version: int
    timing: Timing | None  # None: a text that has not ended


def outside(name: str, status: str, sent: int, client: str | None) -> Account:
    """Of what was answered before it was a request."""
    now = time.perf_counter()
    return Account(
        request_id=name,
        method="",
        route="unknown",
        status=status,
        sent=sent,
        arrived=now,
        ended=now,
        wall_ns=time.time_ns(),
        client=client,
        key=None,
        answered=None,
    )


def marks(request_id: str, trace: Any) -> dict[str, str]:
    """By which a line of the log names a request."""
    if trace is None:
        return {"request_id": request_id}
    return {"request_id": request_id, "trace_id": trace.trace_id}
