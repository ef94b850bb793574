"""One HTTP exchange as a handler sees it: the body within its limit, headers, the time allowed."""

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any

from starlette.datastructures import QueryParams

from service.access.keyring import Scope, presented
from service.api.compression import decompress
from service.api.depth import check_depth
from service.api.hangup import Hangup
from service.api.responses import Headers, Marks, answer_headers
from service.engine.job import Timing
from service.errors import Malformed, TooLarge
from service.house import House
from service.telemetry.account import Account, Answered, marks
from service.telemetry.request_id import HEADER as REQUEST_ID
from service.telemetry.request_id import request_id

SPLIT = b"inference-header-content-length"  # where JSON ends and tensors begin
TIMEOUT = b"gatecast-timeout-ms"
TRACE_RESPONSE = b"traceresponse"
LONGEST_TIMEOUT_MS = 86_400_000  # a day
_LARGE = 1 << 16  # packed bytes that are better unpacked beside the event loop


class Exchange(ABC):
    """A request, with what the service knows beside it. One for each exchange of a dialect.

    Where its body comes from is known to those who derive from it.
    """

    __slots__ = (
        "_by_name",
        "_query",
        "_request_id",
        "_trace",
        "answered",
        "arrived",
        "hangup",
        "house",
        "parameters",
    )

    def __init__(
        self,
        house: House,
        parameters: dict[str, str],
        query: bytes,
        headers: dict[bytes, bytes],
        hangup: Hangup,
    ) -> None:
        self.arrived = time.perf_counter()  # seconds, when the head had come
        self.house = house
        self.parameters = parameters  # of the path
        self.hangup = hangup
        self.answered: Answered | None = None  # which version did, once one has
        self._request_id: str | None = None
        self._trace: Any = None
        self._query = query
        self._by_name = headers  # by name in lower case; not ours alone

    @property
    def leaving(self) -> bool:
        """Whether nobody else should be sent here."""
        return not self.house.drain.ready

    @property
    def draining(self) -> bool:
        """Whether connections are to close."""
        return self.house.drain.begun

    @property
    def seconds(self) -> float:
        """Since the head was complete."""
        return time.perf_counter() - self.arrived

    @property
    def timeout_s(self) -> float | None:
        """How long the caller is willing to wait, from now; None: nothing was said.

        Raises:
            Malformed: the header is not a whole number of milliseconds.
        """
        return time_left(self._by_name, self.seconds)

    def admit(self, scope: Scope | None) -> None:
        """Let the caller in; None lets in everyone.

        Raises:
            Unauthenticated, Forbidden, RateLimited: see `Keyring.admit`.
        """
        if scope is not None and self.house.keyring is not None:
            self.house.keyring.admit(presented(self._by_name), scope)

    @property
    def needs_key(self) -> bool:
        """Whether there are keys at all."""
        return self.house.keyring is not None

    @property
    def request_id(self) -> str:
        """What the caller calls this request, else what we do."""
        if self._request_id is None:
            self._request_id = request_id(self._by_name.get(REQUEST_ID))
        return self._request_id

    @property
    def marks(self) -> Marks:
        """By which a line of the log names this request."""
        return marks(self.request_id, self.trace)

    @property
    def trace(self) -> Any:
        """What it is called in traces; None where there are none."""
        if self._trace is None and self.house.witness is not None:
            self._trace = self.house.witness.trace(self._by_name.get)
        return self._trace

    def own_headers(self, status: int) -> Headers:
        """What the answer tells beside its content: to a browser, and how to ask us about it."""
        said: Headers = []
        if self.house.cors is not None:
            said += self.house.cors.headers(self._by_name.get(b"origin"))
        if status >= 400 or self.house.witness is not None or REQUEST_ID in self._by_name:
            said.append((REQUEST_ID, self.request_id.encode()))
            if self.trace is not None:
                said.append((TRACE_RESPONSE, self.trace.response))
        return said

    def answered_by(self, model: str, version: int, timing: Timing) -> Headers:
        """Which version answered, and where the time went: remembered, and as headers."""
        self.answered = Answered(model, version, timing)
        return answer_headers(model, version, timing, self.arrived)

    def account(self, method: str, route: str, status: str, sent: int) -> Account:
        """What is known of it at its end.

        Args:
            sent: bytes of the answer's body.
        """
        keyring = self.house.keyring
        return Account(
            request_id=self.request_id,
            method=method,
            route=route,
            status=status,
            sent=sent,
            arrived=self.arrived,
            ended=time.perf_counter(),
            wall_ns=time.time_ns(),
            client=self.client,
            key=None if keyring is None else keyring.id_of(presented(self._by_name)),
            answered=self.answered,
            trace=self.trace,
        )

    @property
    @abstractmethod
    def client(self) -> str | None:
        """The caller's address; None where it is not known."""

    @property
    def query_params(self) -> QueryParams:
        """What stands behind the question mark."""
        return QueryParams(self._query)

    def header(self, name: bytes) -> bytes | None:
        """The value of a header; its name in lower case."""
        return self._by_name.get(name)

    async def content(self) -> bytes:
        """The whole body, unpacked.

        Raises:
            Malformed: it is JSON, and deeper than `max_json_depth`.
            TooLarge, UnsupportedMedia, Malformed, ClientDisconnect: see `_unpacked`.
        """
        body = await self._unpacked()
        end = self._by_name.get(SPLIT)
        text = body[: int(end)] if end is not None and end.isdigit() and len(end) <= 12 else body
        await check_depth(text, self.house.settings.max_json_depth)
        return body

    async def _unpacked(self) -> bytes:
        """The same, whatever it holds.

        Raises:
            TooLarge: more than `max_body_bytes` are announced, arrive, or unpack.
            UnsupportedMedia, Malformed: see `compression.decompress`.
            Malformed: the body was lost, because the client asked to leave HTTP/1.1.
            ClientDisconnect: the caller hung up.
        """
        limit = self.house.settings.max_body_bytes
        announced = self._by_name.get(b"content-length", b"0")  # the parser lets only digits pass
        if int(announced) > limit:
            message = f"the body has {int(announced)} bytes, the limit is {limit}"
            raise TooLarge(f"{message}; split the request")
        body = await self._read(limit)
        if not body and b"upgrade" in self._by_name:
            raise Malformed("the body is lost with a header Upgrade; ask in HTTP/1.1 without it")
        encoding = self._by_name.get(b"content-encoding")
        if encoding is None:
            return body
        name = encoding[:40].decode("latin-1")
        if len(body) < _LARGE:
            return decompress(body, name, limit)
        return await asyncio.to_thread(decompress, body, name, limit)

    @abstractmethod
    async def _read(self, limit: int) -> bytes:
        """The whole body as it came.

        Raises:
            TooLarge: more than `limit` bytes arrive.
            ClientDisconnect: the caller hung up.
        """


def time_left(headers: dict[bytes, bytes], passed_s: float) -> float | None:
    """Seconds that the caller is still willing to wait; None: nothing was said.

    Args:
        headers: by name in lower case.
        passed_s: seconds since they had come.

    Raises:
        Malformed: the header is not a whole number of milliseconds.
    """
    text = headers.get(TIMEOUT)
    if text is None:
        return None
    if not text.isdigit() or not 1 <= int(text[:12]) <= LONGEST_TIMEOUT_MS:
        name, came = TIMEOUT.decode(), text[:40].decode("latin-1")
        expected = f"whole milliseconds, 1 to {LONGEST_TIMEOUT_MS}"
        raise Malformed(f"header {name} is {came!r}, expected {expected}", name)
    return max(int(text) / 1000 - passed_s, 0.0)


def too_long(limit: int) -> TooLarge:
    """What is said of a body that does not end within the limit."""
    return TooLarge(f"the body has more than {limit} bytes; split the request")
