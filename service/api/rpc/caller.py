"""Who makes a call: what they call it, what they are told beside its answer, and its account."""

import time
from typing import Any
from urllib.parse import unquote

import grpc

from service.access.keyring import presented
from service.api.responses import Marks, answer_headers
from service.api.rpc.errors import Metadata
from service.engine.job import Timing
from service.house import House
from service.telemetry.account import Account, Answered, marks
from service.telemetry.request_id import HEADER, request_id

Context = grpc.aio.ServicerContext[bytes, bytes]

_ID, _TRACE = HEADER.decode(), "traceresponse"


class Caller:
    """Of one call, or of one message of a stream."""

    __slots__ = (
        "_answered",
        "_house",
        "_id",
        "_metadata",
        "_trace",
        "arrived",
        "context",
        "method",
    )

    def __init__(
        self, method: str, context: Context, house: House, stream: "Caller | None" = None
    ) -> None:
        """
        Args:
            stream: that this is a message of; it is called the same.
        """
        self.method = method
        self.context = context
        self.arrived = time.perf_counter()
        self._house = house
        self._id = None if stream is None else stream.request_id
        self._metadata: dict[bytes, bytes] | None = None
        self._answered: Answered | None = None
        self._trace: Any = None

    @property
    def request_id(self) -> str:
        """As that of an HTTP exchange."""
        if self._id is None:
            self._id = request_id(self._sent.get(HEADER))
        return self._id

    @property
    def trace(self) -> Any:
        """What it is called in traces; None where there are none."""
        witness = self._house.witness
        if self._trace is None and witness is not None:
            self._trace = witness.trace(self._sent.get)
        return self._trace

    @property
    def marks(self) -> Marks:
        """By which a line of the log names this call."""
        return marks(self.request_id, self.trace)

    def answered_by(self, model: str, version: int, timing: Timing) -> None:
        """Which version answered, and where the time went: for the trailers and the account."""
        self._answered = Answered(model, version, timing)

    def trailers(self, *, failed: bool = False) -> Metadata:
        """What is told beside the answer."""
        told: Metadata = ()
        found = self._answered
        if found is not None and found.timing is not None:
            headers = answer_headers(found.model, found.version, found.timing, self.arrived)
            told = tuple([(name.decode(), value.decode()) for name, value in headers])
        if failed or self._house.witness is not None or HEADER in self._sent:
            told += ((_ID, self.request_id),)
            if self.trace is not None:
                told += ((_TRACE, self.trace.response.decode()),)
        return told

    def conclude(self, outcome: str, answer: Any = None) -> None:
        """Tell the witness that it has ended.

        Args:
            outcome: the name of its status, or `cancelled`.
            answer: bytes or a message.
        """
        witness, keyring = self._house.witness, self._house.keyring
        if witness is None:
            return
        if not isinstance(answer, bytes):
            answer = b"" if answer is None else answer.SerializeToString()
        witness.saw(
            Account(
                request_id=self.request_id,
                method="",
                route=self.method,
                status=outcome,
                sent=len(answer),
                arrived=self.arrived,
                ended=time.perf_counter(),
                wall_ns=time.time_ns(),
                client=_address(self.context.peer()),
                key=None if keyring is None else keyring.id_of(presented(self._sent)),
                answered=self._answered,
                trace=self.trace,
            )
        )

    @property
    def _sent(self) -> dict[bytes, bytes]:
        if self._metadata is None:
            given = self.context.invocation_metadata() or ()
            self._metadata = {_bytes(name): _bytes(value) for name, value in given}
        return self._metadata


def _address(peer: str) -> str:
    """`ipv4:127.0.0.1:1234` or `ipv6:[::1]:1234` -> the address."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
