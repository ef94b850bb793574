"""Who may call which method: decided by an interceptor, before a message is read."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc

from service.access.keyring import Scope, presented
from service.api.rpc.call import give_up, told
from service.api.rpc.caller import Caller, Context
from service.errors import ServiceError
from service.house import House

_INFERENCE = "/inference.GRPCInferenceService/"
_HEALTH = "/grpc.health.v1.Health/"

# What a key must be for; None: no key is asked for. A method that is not here is for admins.
SCOPES: dict[str, Scope | None] = {
    f"{_HEALTH}Check": None,  # of a model: see `Health`
    f"{_HEALTH}Watch": None,
    f"{_INFERENCE}ServerLive": None,
    f"{_INFERENCE}ServerReady": None,
    f"{_INFERENCE}ServerMetadata": "any",
    f"{_INFERENCE}ModelReady": "infer",
    f"{_INFERENCE}ModelMetadata": "infer",
    f"{_INFERENCE}ModelConfig": "infer",
    f"{_INFERENCE}ModelStatistics": "metrics",
    f"{_INFERENCE}RepositoryIndex": "infer",
    f"{_INFERENCE}RepositoryModelLoad": "admin",
    f"{_INFERENCE}RepositoryModelUnload": "admin",
    f"{_INFERENCE}ModelInfer": "infer",
    f"{_INFERENCE}ModelStreamInfer": "infer",
}
_STREAM = f"{_INFERENCE}ModelStreamInfer"  # each of its messages counts, and not its beginning

Continuation = Callable[[Any], Awaitable[Any]]


class Gate(grpc.aio.ServerInterceptor):
    """Asks for keys where there are any; in the metadata `authorization` or `x-api-key`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._keyring = house.keyring

    async def intercept_service(self, continuation: Continuation, details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        scope = SCOPES.get(details.method, "admin")
        try:
            self._check(details.invocation_metadata, scope, counts=details.method != _STREAM)
        except ServiceError as error:
            return _refusing(error, details.method, self._house)
        return await continuation(details)

    def admit(self, context: Context, scope: Scope) -> None:
        """Let in a part of a call.

        Raises:
            Unauthenticated, Forbidden, RateLimited: see `Keyring.admit`.
        """
        self._check(context.invocation_metadata() or (), scope, counts=True)

    def _check(self, metadata: Iterable[Any], scope: Scope | None, *, counts: bool) -> None:
        if self._keyring is None or scope is None:
            return
        headers = {_bytes(name): _bytes(value) for name, value in metadata}
        self._keyring.admit(presented(headers), scope, counts=counts)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _refusing(error: ServiceError, method: str, house: House) -> Any:
    """As a stream, whatever the method: gRPC reads the message of any other before it asks us."""

    async def refuse(_: Any, context: Context) -> None:
        caller = Caller(method if method in SCOPES else "unknown", context, house)
        status = told(error, caller.marks)
        caller.conclude(status.code.name)
        await give_up(caller, status)

    return grpc.stream_stream_rpc_method_handler(refuse)
